"""When a file that changed is read: only once it has been left alone."""

from services.destination.sources.files import Look, Settling, Survey


def look(version: int) -> Look:
    return Look(1, 1, version, version, version)


class Story:
    """Surveys at moments, and which files were named at each; those are dealt with at once."""

    def __init__(self) -> None:
        self.settling = Settling(0.05)

    def at(self, now: float, *hidden: str, **files: int) -> list[str]:
        found = Survey(
            {name: look(version) for name, version in files.items()}, dict.fromkeys(hidden, "why")
        )
        named = list(self.settling.observe(found, now))
        for path, seen in named:
            self.settling.done(path, seen)
        return [path if seen else f"-{path}" for path, seen in named]


def test_a_file_is_named_once_it_was_left_alone_and_not_again() -> None:
    story = Story()

    assert story.at(0.00, a=1) == []
    assert story.settling.restless
    assert story.at(0.04, a=1) == []
    assert story.at(0.06, a=1) == ["a"]
    assert not story.settling.restless
    assert story.at(9.00, a=1) == []


def test_a_file_that_is_being_written_is_waited_for() -> None:
    story = Story()

    assert [story.at(n * 0.04, a=n) for n in range(20)] == [[]] * 20
    assert story.at(0.82, a=19) == ["a"]


def test_a_file_that_an_editor_takes_away_for_a_moment_is_not_gone() -> None:
    story = Story()
    story.at(0, a=1)
    story.at(1, a=1)

    assert story.at(2.00) == []
    assert story.at(2.04, a=2) == []
    assert story.at(2.08, a=2) == []
    assert story.at(2.10, a=2) == ["a"]


def test_a_file_that_stays_away_is_gone() -> None:
    story = Story()
    story.at(0, a=1)
    story.at(1, a=1)

    assert story.at(2.00) == []
    assert story.at(2.06) == ["-a"]
    assert story.at(9.00) == []


def test_a_change_that_is_taken_back_while_it_settles_is_none() -> None:
    story = Story()
    story.at(0, a=1)
    story.at(1, a=1)

    assert story.at(2.00, a=2) == []
    assert story.at(2.02, a=1) == []
    assert not story.settling.restless


def test_what_cannot_be_looked_into_may_still_hold_its_files() -> None:
    story = Story()
    story.at(0, **{"d/a": 1, "b": 1})
    story.at(1, **{"d/a": 1, "b": 1})

    assert story.at(2, "d") == []
    assert story.at(3, "d") == ["-b"]
    assert story.at(4, "") == []
    assert story.at(5) == []
    assert story.at(6) == ["-d/a"]


def test_several_files_are_named_in_order() -> None:
    story = Story()
    story.at(0, b=1, a=1)

    assert story.at(1, b=1, a=1) == ["a", "b"]
