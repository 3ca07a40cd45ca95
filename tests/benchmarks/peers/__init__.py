"""Who is measured, one file each."""
