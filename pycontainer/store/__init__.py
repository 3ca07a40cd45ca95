"""Everything on disk that is not state: images, root filesystems, volumes."""
