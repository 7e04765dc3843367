"""The one door to NATS.

client      Bus: what the rest of Tulle uses
connection  one connection, kept for ever; what is wanted of each is told to each
admission   how a connection shows who it is and knows the server
guarded     nats-py, with some things put right
complaints  trouble, told once per kind
listening   subscriptions that carry over, and messages that do not decode
state       retained documents: put, get, scan
merge       which of all sightings of a document to believe
follow      followers and their common timetable
serve       answering requests
gather      one question, many answers
outbox      what is told while the bus is away, and heard when it is back
replay      what was said, from a stream that retained it
keys        a key by compare-and-set, of which leases are made
streams     what must exist in JetStream
"""

from common.bus.client import Bus as Bus
from common.bus.connection import Stats as Stats
from common.bus.follow import Follower as Follower
from common.bus.listening import Subscription as Subscription
from common.bus.outbox import Outbox as Outbox
from common.bus.serve import Endpoint as Endpoint
from common.bus.serve import Service as Service
from common.bus.state import Revision as Revision
