"""What is measured, one file each: NAME, TITLE, a TEXT that says what a figure means, and `measure`, which yields rows."""
