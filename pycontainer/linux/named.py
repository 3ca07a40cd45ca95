"""`NamedTuple` as that of `typing`, without the 7 ms that `typing` and `collections` take of each process that starts.

To a type checker it is the one of `typing`, and it does what that one does: fields come from the annotations of a class,
defaults from its values, and a record equals the plain tuple of its fields.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from _operator import itemgetter

    class _WithoutDict(type):
        def __new__(cls, name, bases, namespace):
            return super().__new__(cls, name, bases, {"__slots__": (), **namespace})

    class NamedTuple(tuple, metaclass=_WithoutDict):
        _fields = ()
        _field_defaults = {}

        def __init_subclass__(cls):
            if cls._fields:
                return  # a class that only adds methods
            cls._fields = cls.__match_args__ = tuple(cls.__annotations__)
            cls._field_defaults = {name: vars(cls)[name] for name in cls._fields if name in vars(cls)}
            for index, name in enumerate(cls._fields):
                setattr(cls, name, property(itemgetter(index)))

        def __new__(cls, *values, **named):
            if named or len(values) != len(cls._fields):
                rest = cls._fields[len(values) :]
                given = {**cls._field_defaults, **named}
                if len(values) > len(cls._fields) or not given.keys() >= set(rest) or not set(rest) >= named.keys():
                    raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}")
                values += tuple(given[name] for name in rest)
            return tuple.__new__(cls, values)

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._asdict().items())})"

        def __getnewargs__(self):
            return tuple(self)

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, **changed):
            return type(self)(**{**self._asdict(), **changed})
