"""The ledger: windows over cumulative reports, whatever happens to proxies, clocks and the order of things."""

from hypothesis import given
from hypothesis import strategies as st

from common.contract.telemetry import Peer, Report, Series
from services.telemetry.account import SERIES, Account
from services.telemetry.counts import ZERO, Counts, total
from services.telemetry.ledger import Ledger
from services.telemetry.track import HORIZON
from tests.support.reports import cumulative, report, series


def grown(ledger: Ledger, since: float) -> int:
    """Requests that all proxies together counted after a moment."""
    tracks = [track for account in ledger for track in account.tracks.values()]
    return total(track.grown(since) for track in tracks).requests


def only(ledger: Ledger) -> Account:
    (account,) = ledger
    return account


def heard(*reports: tuple[float, Report], since: float = 0.0) -> Ledger:
    """A ledger that listened since `since` and received these reports at these moments."""
    ledger = Ledger(since)
    for at, what in reports:
        ledger.apply(what, at)
    return ledger


def test_a_window_holds_what_was_counted_since_its_start() -> None:
    reports = cumulative([100, 250, 300])
    ledger = heard(*zip((10.0, 20.0, 30.0), reports, strict=True))

    assert [grown(ledger, since) for since in (30.0, 20.0, 10.0, 0.0, -9.0)] == [
        0,
        50,
        200,
        300,
        300,
    ]


def test_a_proxy_heard_of_since_its_start_counts_from_zero() -> None:
    ledger = heard((100.0, report(series(40), age=8.0)))

    assert grown(ledger, 92.0) == 40
    assert grown(ledger, 96.0) == 20


def test_of_a_proxy_older_than_the_ledger_a_short_window_holds_only_what_was_seen() -> None:
    first, second = report(series(4000), age=500.0), report(series(4010), age=510.0)
    ledger = heard((1.0, first), (11.0, second))

    assert grown(ledger, 11.0 - 60.0) == 10
    assert grown(ledger, 11.0 - HORIZON) == 4010


def test_a_restarted_proxy_adds_to_what_it_had_counted() -> None:
    ledger = heard(
        (10.0, report(series(100), age=10.0)),
        (20.0, report(series(150), age=20.0)),
        (40.0, report(series(30), started=2000.0, age=10.0)),
    )

    assert grown(ledger, 0.0) == 180
    assert grown(ledger, 20.0) == grown(ledger, 30.0) == 30
    assert only(ledger).span(0.0) == (0.0, 40.0)


def test_a_last_word_that_arrives_after_the_successors_first_is_still_counted() -> None:
    ledger = heard(
        (10.0, report(series(100), age=10.0)),
        (15.0, report(series(5), started=2000.0, age=2.0)),
        (16.0, report(series(110), age=15.0, final=True)),
    )

    assert grown(ledger, 0.0) == 115
    assert not only(ledger).gone


def test_a_repeated_report_changes_nothing() -> None:
    once = report(series(100), age=10.0)
    ledger = heard((10.0, once), (11.0, once), (12.0, once))

    assert grown(ledger, 0.0) == 100
    assert ledger.outcomes == {"applied": 1, "late": 2}


def test_a_report_overtaken_by_a_later_one_changes_nothing() -> None:
    first, second, third = cumulative([100, 200, 300])
    ledger = heard((10.0, first), (30.0, third), (31.0, second))

    assert grown(ledger, 0.0) == 300
    assert ledger.outcomes["late"] == 1


def test_a_proxy_whose_clock_steps_back_goes_on_counting() -> None:
    ledger = heard(
        (10.0, report(series(100), age=500.0)),
        (20.0, report(series(150), age=-3000.0)),
        (30.0, report(series(170), age=-2990.0)),
    )

    assert grown(ledger, 10.0) == 70


def test_a_proxys_clock_may_be_wrong_by_years() -> None:
    ledger = heard(
        (10.0, report(series(5), started=4e9, age=3.0)),
        (20.0, report(series(9), started=4e9, age=13.0)),
    )

    assert (grown(ledger, 7.0), grown(ledger, 10.0)) == (9, 4)


def test_a_series_whose_counters_fell_began_anew() -> None:
    ledger = heard(
        (10.0, report(series(100), age=10.0)),
        (20.0, report(series(30), age=20.0)),
        (30.0, report(series(35), age=30.0)),
    )

    assert grown(ledger, 0.0) == 135
    assert grown(ledger, 10.0) == 35


def test_a_series_left_out_of_a_report_keeps_what_it_had_and_begins_anew() -> None:
    other = series(7, peer=Peer(service="authors.shop", owner="authors"))
    ledger = heard(
        (10.0, report(series(100), other, age=10.0)),
        (20.0, report(other, age=20.0)),
        (30.0, report(series(120), other, age=30.0)),
    )

    assert grown(ledger, 0.0) == 227
    assert grown(ledger, 20.0) == 120


def test_a_rare_job_is_counted_each_time_though_its_series_was_forgotten_meanwhile() -> None:
    ledger = Ledger(0.0)
    for at in range(600, 6000, 600):
        job = [series(3)] if at % 1200 == 0 else []
        ledger.apply(report(*job, age=float(at)), float(at))

    assert grown(ledger, 6000.0 - HORIZON) == 6


def test_a_series_that_appears_later_began_after_the_report_before() -> None:
    other = series(10, peer=Peer(service="authors.shop", owner="authors"))
    ledger = heard((10.0, report(series(1), age=10.0)), (20.0, report(series(1), other, age=20.0)))

    assert grown(ledger, 10.0) == 10
    assert grown(ledger, 15.0) == 5


def test_after_its_last_word_a_proxy_is_gone_and_holds_nothing_open() -> None:
    held = series(1, open_connections=4)
    ledger = heard((10.0, report(held, age=10.0)))
    account = only(ledger)
    assert (account.live(12.0), sum(account.open(12.0).values())) == (True, 4)

    ledger.apply(report(held, age=12.0, final=True), 12.0)

    assert (account.live(12.0), account.open(12.0)) == (False, {})
    assert grown(ledger, 0.0) == 1


def test_a_proxy_that_falls_silent_is_believed_for_three_of_its_intervals() -> None:
    ledger = heard((100.0, report(age=100.0)), (200.0, report(age=200.0)))

    assert only(ledger).live(490.0)
    assert not only(ledger).live(501.0)


def test_a_run_older_than_all_that_are_remembered_comes_too_late() -> None:
    runs = [(10.0 * i, report(series(10), started=1000.0 * i, age=5.0)) for i in range(1, 7)]
    ledger = heard(*runs)

    assert ledger.apply(runs[0][1], 100.0) == "late"
    assert grown(ledger, 0.0) == 60


def test_what_an_old_run_counted_before_the_ledger_listened_is_not_counted_on_hearing_it() -> None:
    ledger = heard(
        (101.0, report(series(3), started=5000.0, age=0.5)),
        (102.0, report(series(900), started=1000.0, age=50.0)),
        (103.0, report(series(904), started=1000.0, age=51.0, final=True)),
        since=100.0,
    )

    assert grown(ledger, 0.0) == 7


def test_absurd_series_are_left_out_and_counted_and_disturb_no_other() -> None:
    wrong = series(-5, peer=Peer(service="a.b"))
    doubled = series(1_000)
    endless = series(5, peer=Peer(service="x" * 5_000))
    ledger = heard((10.0, report(series(100), wrong, doubled, endless, age=10.0)))

    assert grown(ledger, 0.0) == 100
    assert ledger.refused == 3


def test_counters_that_lie_beyond_all_measure_never_stop_the_ledger() -> None:
    ledger = Ledger(0.0)
    for i in range(3_000):
        ledger.apply(report(series(2**53 if i % 2 else 0, latency=()), age=float(i)), float(i))

    assert grown(ledger, 0.0) <= 2**53


def test_an_hour_after_the_last_report_a_proxy_is_forgotten() -> None:
    ledger = heard((0.0, report(series(1), age=1.0)))
    ledger.apply(report(series(1), workload="books-1", age=1.0), HORIZON + 1)

    assert [account.workload for account in ledger] == ["books-1"]
    assert ledger.tracks == 1
    assert ledger.forgotten == 0


def test_an_hour_after_it_was_last_named_a_series_is_forgotten() -> None:
    other = series(10, peer=Peer(service="authors.shop", owner="authors"))
    ledger = heard((0.0, report(series(1), other, age=1.0)))
    for at in range(600, 5000, 600):
        ledger.apply(report(series(at), age=float(at)), float(at))

    assert ledger.tracks == 1


def test_proxies_beyond_the_limit_take_the_room_of_the_longest_idle() -> None:
    ledger = Ledger(0.0, proxies=2)
    for i, at in enumerate((0.0, 100.0, 200.0)):
        assert ledger.apply(report(series(1), workload=f"web-{i}", age=1.0), at) == "applied"

    assert [account.workload for account in ledger] == ["web-1", "web-2"]
    assert ledger.forgotten == 1
    assert ledger.apply(report(series(1), workload="web-9", age=1.0), 210.0) == "refused"
    assert ledger.outcomes == {"applied": 3, "refused": 1}


def test_series_are_bounded_for_each_proxy_and_in_all() -> None:
    def many(count: int) -> list[Series]:
        return [series(1, peer=Peer(address=str(i))) for i in range(count)]

    ledger = Ledger(0.0, tracks=SERIES + 500)
    ledger.apply(report(*many(SERIES + 200), workload="a-1", age=1.0), 1.0)
    assert (ledger.tracks, ledger.refused) == (SERIES, 200)
    ledger.apply(report(*many(600), workload="b-1", age=1.0), 2.0)
    assert (ledger.tracks, ledger.refused) == (SERIES + 500, 300)

    assert ledger.apply(report(series(1), workload="c-1", age=1.0), 3.0) == "refused"


def test_a_proxy_full_of_idle_series_forgets_them_for_new_ones() -> None:
    def at_addresses(first: int) -> list[Series]:
        return [series(1, peer=Peer(address=str(i))) for i in range(first, first + SERIES)]

    ledger = Ledger(0.0)
    for age, first in ((1.0, 0), (11.0, SERIES), (21.0, SERIES)):
        ledger.apply(report(*at_addresses(first), age=age), age)

    assert ledger.tracks == SERIES
    assert {key.peer.address for key in only(ledger).tracks} == {
        str(i) for i in range(SERIES, 2 * SERIES)
    }


def test_covered_grows_from_nothing_to_the_window() -> None:
    ledger = Ledger(100.0)

    assert [ledger.covered(60.0, at) for at in (90.0, 100.0, 130.0, 500.0)] == [
        0.0,
        0.0,
        30.0,
        60.0,
    ]


@given(st.data())
def test_repeats_and_overtaking_never_change_what_was_counted(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(0, 20), min_size=1, max_size=12))
    counts = [sum(steps[: i + 1]) for i in range(len(steps))]
    reports = cumulative(counts)
    order = data.draw(st.lists(st.sampled_from(range(len(reports))), max_size=30))
    arrivals = [*order, len(reports) - 1]

    ledger = heard(*((10.0 + i, reports[which]) for i, which in enumerate(arrivals)), since=-1e9)

    account = only(ledger)
    latest = [track.latest for track in account.tracks.values()]
    assert total(latest) == Counts(counts[-1], latency=(counts[-1],) if counts[-1] else ())
    assert grown(ledger, 1e9) == ZERO.requests
