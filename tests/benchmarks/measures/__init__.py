"""What is measured, one file each:

NAME, TITLE    the measure's, in rows and in the document
TEXT           what a figure means
COMPARES       whether each peer has a row, if only one that says why there is no figure
measure        yields the rows
"""
