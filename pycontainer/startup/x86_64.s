# The machine code of a start from a dump, for x86-64. `as` turns this into the bytes in startup/machine.py; a test compares.

        .globl  launch, on_stack, stop
        .text

# Entry of the launcher. Register use: r15 the stack as the kernel made it (argc, argv, environment, see elf(5) and the psABI),
# r14 the dump, rbx its header, r12 a segment in that, r13 how many are left.
#
# The header: 0 key (16 bytes), 16 boot id (36, and 4 of padding), 56 number of files, 64 where they are, 72 number of segments,
# 80 of ranges, 88 stack pointer, 96 thread pointer, 104 where the thread id is kept, 112 where libc keeps the end of its heap,
# 120 the segments, then the ranges. A segment is five words, what mmap(2) takes: 0 address, 8 length, 16 protection, 24 flags,
# 32 offset. A range is two. A file is four: 0 path, 8 size, 16 seconds and 24 nanoseconds of its last change.
launch: mov     %rsp, %r15
        mov     $-100, %edi             # AT_FDCWD
        mov     dump_path(%rip), %rsi
        mov     $0x80000, %edx          # O_RDONLY | O_CLOEXEC
        mov     $257, %eax              # openat
        syscall
        test    %eax, %eax
        js      slow
        mov     %eax, %r14d
        sub     $144, %rsp              # as much as a struct stat
        mov     %eax, %edi
        mov     %rsp, %rsi
        mov     $5, %eax                # fstat
        syscall
        test    %eax, %eax
        jnz     slow
        mov     24(%rsp), %rax          # st_mode and st_uid: a file that is root's, and nobody else's to touch
        cmp     $0100600, %rax
        jne     slow
        mov     %r14d, %edi
        mov     %rsp, %rsi
        mov     $52, %edx
        xor     %eax, %eax              # read, for a mapping of a file that is shorter would be a SIGBUS
        syscall
        cmp     $52, %rax
        jne     slow
        mov     (%rsp), %rax
        cmp     key(%rip), %rax
        jne     slow
        mov     8(%rsp), %rax
        cmp     key+8(%rip), %rax
        jne     slow

# What was resolved for this processor holds for as long as the kernel that was booted. Whoever is of this boot is complete.
        mov     $-100, %edi
        lea     boot_id_path(%rip), %rsi
        mov     $0x80000, %edx
        mov     $257, %eax
        syscall
        test    %eax, %eax
        js      slow
        mov     %eax, %r12d
        mov     %eax, %edi
        lea     64(%rsp), %rsi
        mov     $64, %edx
        xor     %eax, %eax
        syscall
        mov     %rax, %r13
        mov     %r12d, %edi
        mov     $3, %eax                # close
        syscall
        cmp     $37, %r13               # 36, and a line break
        jne     slow
        lea     64(%rsp), %rsi
        lea     16(%rsp), %rdi
        mov     $36, %ecx
        repe cmpsb
        jne     slow

        mov     header_at(%rip), %rdi
        mov     header_bytes(%rip), %rsi
        mov     $1, %edx                # PROT_READ
        mov     $0x100002, %r10d        # MAP_PRIVATE | MAP_FIXED_NOREPLACE
        mov     %r14, %r8
        xor     %r9d, %r9d
        mov     $9, %eax                # mmap
        syscall
        cmp     %rdi, %rax              # a kernel before 4.17 takes the address as a wish
        jne     slow
        mov     %rax, %rbx

# What the dump was made of has to be as it was then.
        mov     56(%rbx), %r13
        mov     64(%rbx), %r12
file:   mov     (%r12), %rdi
        mov     %rsp, %rsi
        mov     $4, %eax                # stat
        syscall
        test    %eax, %eax
        jnz     slow
        mov     48(%rsp), %rax          # st_size, then st_mtim
        cmp     8(%r12), %rax
        jne     slow
        mov     88(%rsp), %rax
        cmp     16(%r12), %rax
        jne     slow
        mov     96(%rsp), %rax
        cmp     24(%r12), %rax
        jne     slow
        add     $32, %r12
        dec     %r13
        jnz     file

        mov     72(%rbx), %r13
        lea     120(%rbx), %r12
segment:
        mov     (%r12), %rdi
        mov     8(%r12), %rsi
        mov     16(%r12), %rdx
        mov     24(%r12), %r10
        mov     %r14, %r8
        mov     32(%r12), %r9
        mov     $9, %eax
        syscall
        cmp     %rdi, %rax
        jne     slow
        add     $40, %r12
        dec     %r13
        jnz     segment
        mov     %r14d, %edi
        mov     $3, %eax
        syscall

# What everybody writes to is copied at once: one by one, at a fault each, takes three times as long. Before 5.14 it is
# an error, and does not matter.
        mov     80(%rbx), %r13
        test    %r13, %r13
        jz      copied
range:  mov     (%r12), %rdi
        mov     8(%r12), %rsi
        mov     $23, %edx               # MADV_POPULATE_WRITE
        mov     $28, %eax               # madvise
        syscall
        add     $16, %r12
        dec     %r13
        jnz     range
copied:
        mov     $0x1002, %edi           # ARCH_SET_FS
        mov     96(%rbx), %rsi
        mov     $158, %eax              # arch_prctl
        syscall
        mov     104(%rbx), %rdi
        mov     $218, %eax              # set_tid_address; returns the thread id
        syscall
        mov     104(%rbx), %rdi
        mov     %eax, (%rdi)
        xor     %edi, %edi
        mov     $12, %eax               # brk; returns the end of the heap
        syscall
        mov     112(%rbx), %rdi
        mov     %rax, (%rdi)
        mov     %r15, %rax
        mov     88(%rbx), %rsp
        jmp     go_on

# There is no dump that can be gone on in: execute the interpreter with its own first arguments, then ours.
slow:   mov     %r15, %rsp
        mov     (%r15), %rcx
        lea     8(%r15,%rcx,8), %rsi    # the end of argv
        inc     %rcx
own:    push    (%rsi)
        sub     $8, %rsi
        dec     %rcx
        jnz     own
        mov     first_count(%rip), %rcx
        mov     first_at(%rip), %rdx
first:  push    -8(%rdx,%rcx,8)
        dec     %rcx
        jnz     first
        mov     (%rdx), %rdi
        mov     %rsp, %rsi
        mov     (%r15), %rcx
        lea     16(%r15,%rcx,8), %rdx   # the environment
        mov     $59, %eax               # execve
        syscall
        mov     $2, %edi
        mov     message_at(%rip), %rsi
        mov     message_bytes(%rip), %rdx
        mov     $1, %eax                # write
        syscall
        mov     $127, %edi
        mov     $231, %eax              # exit_group
        syscall

# PyObject *on_stack(void *end, PyObject *(*function)(PyObject *), PyObject *argument): on the stack that ends there. It never
# returns.
on_stack:
        mov     %rdi, %rsp
        and     $-16, %rsp
        mov     %rdx, %rdi
        call    *%rsi
        hlt

# long stop(long words[2]): write the stack pointer and the thread pointer, then stop, to be dumped. Returns 0 to who is
# merely continued, and to who goes on in the dump where the kernel put argc.
stop:   push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rsp, (%rdi)
        mov     %fs:0, %rax
        mov     %rax, 8(%rdi)
        mov     $39, %eax               # getpid
        syscall
        mov     %eax, %edi
        mov     $19, %esi               # SIGSTOP
        mov     $62, %eax               # kill
        syscall
        xor     %eax, %eax
go_on:  pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

boot_id_path:
        .asciz  "/proc/sys/kernel/random/boot_id"
        .balign 8
words:
dump_path:      .quad 0
header_at:      .quad 0
header_bytes:   .quad 0
first_count:    .quad 0
first_at:       .quad 0
message_at:     .quad 0
message_bytes:  .quad 0
key:            .quad 0, 0
