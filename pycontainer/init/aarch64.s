// The machine code of a start, for aarch64; the same program as x86_64.s, which explains rows, modes and the reaper.
//
// Register use: x19 the present row, x20 the report, x21 the child of the reaper.

        .globl  birth, program
        .text

birth:  stp     x19, x20, [sp, #-16]!
        mov     x19, x2
        mov     x20, x3
        mov     x8, #435                // clone3
        svc     #0
        cbz     x0, step
        ldp     x19, x20, [sp], #16
        ret

program:
        ldr     x19, rows_at
        ldr     x20, report_at
step:   ldr     x8, [x19]
        cmn     x8, #1
        b.eq    reaper
        ldp     x0, x1, [x19, #8]
        ldp     x2, x3, [x19, #24]
        ldp     x4, x5, [x19, #40]
        svc     #0
        ldr     x9, [x19, #56]
        str     x0, [x9]
        ldr     x10, [x19, #64]
        cmp     x10, #1
        b.eq    next
        cmp     x10, #2
        b.eq    exact
        cmn     x0, #4095
        b.lo    next
        cmp     x10, #3
        b.ne    fail
        cmn     x0, #2                  // ENOENT
        b.eq    next
        cmn     x0, #20                 // ENOTDIR
        b.eq    next
        cmn     x0, #13                 // EACCES
        b.ne    fail
next:   add     x19, x19, #80
        b       step
exact:  ldr     x9, [x19, #72]
        cmp     x0, x9
        b.eq    next

fail:   str     x19, [x20]
        str     x0, [x20, #8]
        ldur    x0, [x20, #-16]
        mov     x1, x20
        ldur    x2, [x20, #-8]
        mov     x8, #64                 // write
        svc     #0
        mov     x0, #127
        mov     x8, #94                 // exit_group
        svc     #0

reaper: sub     sp, sp, #160
        mov     x9, #-1
        str     x9, [sp]
        mov     x0, #2                  // rt_sigprocmask(SIG_SETMASK, all, NULL, 8)
        mov     x1, sp
        mov     x2, #0
        mov     x3, #8
        mov     x8, #135
        svc     #0
        mov     x0, #17                 // clone(SIGCHLD)
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        mov     x8, #220
        svc     #0
        cmn     x0, #4095
        b.hs    fail
        cbnz    x0, parent
        add     sp, sp, #160
        b       next
parent: mov     x21, x0
        mov     x0, #0                  // close_range(0, ~0, 0)
        mov     w1, #-1
        mov     x2, #0
        mov     x8, #436
        svc     #0
wait:   mov     x0, sp                  // rt_sigtimedwait(all, info, NULL, 8)
        add     x1, sp, #16
        mov     x2, #0
        mov     x3, #8
        mov     x8, #137
        svc     #0
        cmp     x0, #17                 // SIGCHLD
        b.eq    reap
        cmn     x0, #4095
        b.hs    wait                    // EINTR
        mov     x1, x0                  // kill(child, signal)
        mov     x0, x21
        mov     x8, #129
        svc     #0
        b       wait
reap:   mov     x0, #-1                 // wait4(-1, status, WNOHANG, NULL)
        add     x1, sp, #8
        mov     x2, #1
        mov     x3, #0
        mov     x8, #260
        svc     #0
        cmp     x0, #0
        b.le    wait
        cmp     x0, x21
        b.ne    reap
        ldr     w9, [sp, #8]
        and     w0, w9, #127
        cbnz    w0, killed
        ubfx    w0, w9, #8, #8
        b       end
killed: add     w0, w0, #128
end:    mov     x8, #94
        svc     #0

        .balign 8
rows_at:   .quad 0
report_at: .quad 0
