"""The kernel, thinly: system calls and the files beside them, no policy."""
