"""What is measured, on which paths through each product, how hard and how often."""

import msgspec

SHAPE = "client → outbound proxy → mutual TLS 1.3 → inbound proxy → nginx"
PRODUCTS = ("tulle", "envoy", "haproxy")
PROTOCOLS = ("http1", "http2", "grpc")

HTTP1_CONNECTIONS = 32
HTTP2_CONNECTIONS, HTTP2_STREAMS = 8, 10
BULK_CONNECTIONS = 4
HANDSHAKE_CONNECTIONS = 16
STEADY_RATE = 500
IDLE_CONNECTIONS = 1000


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """How often everything is measured, and for how many seconds each time."""

    rounds: int
    load: int
    bulk: int
    handshakes: int
    steady: int


FULL = Effort(rounds=5, load=4, bulk=3, handshakes=3, steady=8)
QUICK = Effort(rounds=3, load=2, bulk=1, handshakes=1, steady=3)


class Contender(msgspec.Struct, frozen=True):
    """One way through one product; `way` tells ways apart where a product has several."""

    product: str
    way: str = ""

    def __str__(self) -> str:
        return f"{self.product}-{self.way}" if self.way else self.product


TULLE, ENVOY, ENVOY_H2, HAPROXY = (
    Contender("tulle"),
    Contender("envoy"),
    Contender("envoy", "h2"),
    Contender("haproxy"),
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Something to measure, with what drives it and who takes part."""

    name: str
    tool: str
    """The program that makes the load; empty: our own."""
    contenders: tuple[Contender, ...]


# Envoy multiplexes between its pair only if told to. For HTTP/1.1 both ways run, and the better counts.
ROWS = (
    Row(name="http1", tool="wrk", contenders=(TULLE, ENVOY, ENVOY_H2, HAPROXY)),
    Row(name="http2", tool="h2load", contenders=(TULLE, ENVOY, HAPROXY)),
    Row(name="grpc", tool="h2load", contenders=(TULLE, ENVOY, HAPROXY)),
    Row(name="tcp", tool="", contenders=(TULLE, ENVOY, HAPROXY)),
    Row(name="handshakes", tool="wrk", contenders=(TULLE, ENVOY, HAPROXY)),
    Row(name="latency", tool="", contenders=(TULLE, ENVOY, ENVOY_H2, HAPROXY)),
)


class Target(msgspec.Struct, frozen=True):
    """A promise about a ratio: not above `bound`, or not below it where more is better."""

    name: str
    """Where the ratio stands in the document: `paths.http1.cpu_ratio_envoy`."""
    bound: float
    more_is_better: bool = False

    def met(self, ratio: float) -> bool:
        """True if the promise is kept."""
        return ratio >= self.bound if self.more_is_better else ratio <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.more_is_better else '≤'} {self.bound:.2f}"


TARGETS = (
    Target("paths.http1.cpu_ratio_envoy", 0.75),
    Target("paths.http2.cpu_ratio_envoy", 0.40),
    Target("paths.grpc.cpu_ratio_envoy", 0.40),
    Target("latency.p99_ratio_envoy", 1.0),
    Target("rss.ratio_envoy", 0.75),
    Target("tcp.ratio_haproxy", 0.8, more_is_better=True),
    Target("handshakes.ratio_haproxy", 0.7, more_is_better=True),
)
