from kdsweep.errors import first_line


def test_the_first_line_of_an_error() -> None:
    assert first_line(ValueError("one:\n two")) == "one"
    assert first_line(ValueError()) == "ValueError"
