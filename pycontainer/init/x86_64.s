# The machine code of a start, for x86-64. `as` turns this into the bytes in init/machine.py; a test compares them.
#
# Register use: rbx the present row, r12 the report, r13 the child of the reaper. A row is ten 64-bit words:
#     0 number   8..48 six arguments   56 where the result goes   64 mode   72 expected result
# Modes: 0 an error ends the program, 1 anything goes on, 2 the result must equal the expected one,
#        3 ENOENT, ENOTDIR and EACCES go on (the attempts of a PATH search), any other error ends the program.
# Number -1 is not a system call: it forks, the parent stays as the reaper (see init/reaper below).

        .globl  birth, program
        .text

# long birth(struct clone_args *args, size_t size, row *rows, report *report): called from Python.
# The parent returns with the pid. The child never returns: it runs `rows`, the last of which executes the program.
birth:  push    %rbx
        push    %r12
        mov     %rdx, %rbx
        mov     %rcx, %r12
        mov     $435, %eax              # clone3
        syscall
        test    %rax, %rax
        jz      step
        pop     %r12
        pop     %rbx
        ret

# Entry of the sealed program: the report and the rows lie at fixed places that the two words after the jump give.
program:
        mov     rows_at(%rip), %rbx
        mov     report_at(%rip), %r12
step:   mov     (%rbx), %rax
        cmp     $-1, %rax
        je      reaper
        mov     8(%rbx), %rdi
        mov     16(%rbx), %rsi
        mov     24(%rbx), %rdx
        mov     32(%rbx), %r10
        mov     40(%rbx), %r8
        mov     48(%rbx), %r9
        syscall
        mov     56(%rbx), %rcx
        mov     %rax, (%rcx)
        mov     64(%rbx), %rdx
        cmp     $1, %rdx
        je      next
        cmp     $2, %rdx
        je      exact
        cmp     $-4095, %rax
        jb      next
        cmp     $3, %rdx
        jne     fail
        cmp     $-2, %rax               # ENOENT
        je      next
        cmp     $-20, %rax              # ENOTDIR
        je      next
        cmp     $-13, %rax              # EACCES
        jne     fail
next:   add     $80, %rbx
        jmp     step
exact:  cmp     72(%rbx), %rax
        je      next

# The report: row, result, then what the program stored; its length and descriptor stand before it.
fail:   mov     %rbx, (%r12)
        mov     %rax, 8(%r12)
        mov     $1, %eax                # write
        mov     -16(%r12), %rdi
        mov     %r12, %rsi
        mov     -8(%r12), %rdx
        syscall
        mov     $231, %eax              # exit_group
        mov     $127, %edi
        syscall

# The reaper: process 1 of a container started with --init. It forks; the child goes on with the next row. The parent
# closes its copy of the report's descriptor, waits for signals (all are blocked), hands them on, reaps everybody and
# ends as the child ended: with its exit status, or 128 and the signal.
reaper: sub     $144, %rsp
        movq    $-1, (%rsp)             # every signal
        mov     $14, %eax               # rt_sigprocmask(SIG_SETMASK, all, NULL, 8)
        mov     $2, %edi
        mov     %rsp, %rsi
        xor     %edx, %edx
        mov     $8, %r10d
        syscall
        mov     $56, %eax               # clone(SIGCHLD)
        mov     $17, %edi
        xor     %esi, %esi
        xor     %edx, %edx
        xor     %r10d, %r10d
        xor     %r8d, %r8d
        syscall
        cmp     $-4095, %rax
        jae     fail
        test    %rax, %rax
        jnz     parent
        add     $144, %rsp
        jmp     next
parent: mov     %rax, %r13
        mov     $436, %eax              # close_range(0, ~0, 0): the child alone holds output and report
        xor     %edi, %edi
        mov     $-1, %esi
        xor     %edx, %edx
        syscall
wait:   mov     $128, %eax              # rt_sigtimedwait(all, info, NULL, 8)
        mov     %rsp, %rdi
        lea     16(%rsp), %rsi
        xor     %edx, %edx
        mov     $8, %r10d
        syscall
        cmp     $17, %rax               # SIGCHLD
        je      reap
        cmp     $-4095, %rax
        jae     wait                    # EINTR
        mov     %rax, %rsi              # kill(child, signal)
        mov     %r13, %rdi
        mov     $62, %eax
        syscall
        jmp     wait
reap:   mov     $61, %eax               # wait4(-1, status, WNOHANG, NULL)
        mov     $-1, %rdi
        lea     8(%rsp), %rsi
        mov     $1, %edx
        xor     %r10d, %r10d
        syscall
        test    %rax, %rax
        jle     wait
        cmp     %r13, %rax
        jne     reap
        mov     8(%rsp), %edi
        mov     %edi, %eax
        and     $127, %eax
        jnz     killed
        shr     $8, %edi
        and     $255, %edi
        jmp     end
killed: lea     128(%rax), %edi
end:    mov     $231, %eax
        syscall

        .balign 8
rows_at:   .quad 0
report_at: .quad 0
