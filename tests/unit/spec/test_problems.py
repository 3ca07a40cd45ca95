"""How problems are shown together."""

from pycontainer.spec.problems import MAX_SHOWN, Problem, as_error


def test_one_problem() -> None:
    error = as_error([Problem("memory", "'200Q' is not a size", "write 200M")])
    assert (error.message, error.hint, error.field, error.source) == (
        "memory: '200Q' is not a size",
        "write 200M",
        "memory",
        "",
    )


def test_several_with_their_lines() -> None:
    problems = [
        Problem("memroy", "unknown key 'memroy'", "see the docs", names_field=True),
        Problem("ports[1]", "'x' is not a port", "write a port"),
        Problem("env.HOME", "there is no value", "write a port"),
        Problem("", "is wrong as a whole"),
        Problem("cpus", "no line is known"),
        Problem("", "knows its line", line=9),
    ]
    error = as_error(problems, source="web.yaml", lines={"memroy": 7, "ports[1]": 3, "env": 5})
    assert error.message.split("\n") == [
        "web.yaml:7: unknown key 'memroy'",
        "web.yaml:3: ports[1]: 'x' is not a port",
        "web.yaml:5: env.HOME: there is no value",
        "web.yaml: is wrong as a whole",
        "web.yaml: cpus: no line is known",
        "web.yaml:9: knows its line",
    ]
    assert (error.source, error.field, error.hint) == ("web.yaml:7", "memroy", "see the docs; write a port")


def test_a_flood_is_cut() -> None:
    error = as_error([Problem(f"k{number}", "is wrong", f"hint {number}") for number in range(MAX_SHOWN + 2)])
    assert error.message.split("\n")[-2:] == [f"k{MAX_SHOWN - 1}: is wrong", "and 2 more problems"]
    assert f"hint {MAX_SHOWN}" not in error.hint
