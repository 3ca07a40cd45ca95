"""Operations that are cut off at each of their steps, and what must be there when the next supervisor has come up.

An operation is a generator: it prepares, yields the command that is cut off, and looks at what is left when the next
supervisor has come up: the object is whole or gone, and its name can be used. Then all is removed, and the host and the
world are as before.

    containers written travel around services       operations: one function each
    common                                          what they share
    table                                           which operation reaches which failpoint
"""
