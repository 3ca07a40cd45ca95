"""Starting without starting: a program goes on from a dump of itself, in which all its modules are loaded.

Python takes 5 ms to begin and a command of ours as long again, or five times as long, to load its modules; what it is asked
for takes one. So the program is started once, loads what it has, and stops; its memory is written to a file, the dump. From
then on the file that people and engines execute, the launcher, maps the dump where that memory was and goes on in it: 1 ms.

    launcher  (.venv/bin/pycontainer, 1 KB of machine code)
       │ is there a dump, of this launcher and of this boot, and is what it was made of as it was?
       ├── yes ──▶ mmap its segments ──▶ frozen.go_on: arguments, environment, signals ──▶ main()
       │                                    └── the environment asks for what Python alone does ──▶ as below
       └── no ───▶ execve of Python on the whole program, as ever ──▶ when that is done: renewal ──▶ build, in the background

    programs.py   what is started: interpreter, entry, modules, where the dump lies
    launcher.py   the ELF of the launcher
    build.py      starts a program, waits until it stops, writes its memory to a file, and tries that
    frozen.py     in that program: loads, stops; and what it does when it goes on
    dump.py       the file
    machine.py, x86_64.s   the machine code

A dump is of one boot of one host, since what libc chose for this processor is in it. docs/decisions.md has what else was
considered. Where there is no machine code, or the kernel says no, or nobody could build it, a start is slow, as it was.
"""
