"""How much a container may write: caps on the bytes and inodes of its writable layer, whatever file system lies beneath."""
