"""What the load generators print is understood, and what they do not say is not made up."""

import pytest

from benchmarks.loads import Done, LoadFailed, read_h2load, read_wrk

WRK = """Running 2s test @ http://10.96.0.10:8000/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     7.29ms    2.21ms  21.04ms   80.24%
    Req/Sec     4.41k   341.49     5.02k    70.00%
  8791 requests in 2.00s, 2.10MB read
Requests/sec:   4391.02
Transfer/sec:      1.05MB
"""
H2LOAD = """Main benchmark duration is over for thread #0. Stopping all clients.
finished in 2.00s, 18702.50 req/s, 2.31MB/s
requests: 37405 total, 37485 started, 37405 done, 37405 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 37405 2xx, 0 3xx, 0 4xx, 0 5xx
"""


def test_wrk_says_how_many_requests_went_well() -> None:
    assert read_wrk(WRK) == Done(count=8791, failed=0, per_second=4391.02)


def test_refused_and_broken_requests_of_wrk_are_failures() -> None:
    said = WRK.replace(
        "Requests/sec",
        "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 91\nRequests/sec",
    )

    assert read_wrk(said) == Done(count=8700, failed=101, per_second=4391.02)


def test_h2load_says_how_many_requests_went_well() -> None:
    assert read_h2load(H2LOAD) == Done(count=37405, failed=0, per_second=18702.5)


def test_failed_requests_of_h2load_are_failures() -> None:
    said = H2LOAD.replace(
        "37405 succeeded, 0 failed, 0 errored", "37400 succeeded, 5 failed, 2 errored"
    )

    assert (read_h2load(said).count, read_h2load(said).failed) == (37400, 5)


@pytest.mark.parametrize("read", [read_wrk, read_h2load])
def test_a_load_that_says_something_else_has_failed(read: object) -> None:
    assert callable(read)
    with pytest.raises(LoadFailed, match="unable to connect"):
        read("unable to connect to 10.96.0.10:8000 Connection refused")
