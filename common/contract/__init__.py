"""What is said on the bus: every subject, spelled once, with the message that travels on it.

    topic       a subject and the type of its message, as one value
    discovery   where things are: addresses, services, endpoints, a workload's own document
    identity    who is who: signing requests, trust bundle
    leaves      … and which leaf each shows now
    telemetry   what was measured: reports, and questions about the recent past
    events      what happened: lifecycle of workloads, events, acknowledgements
    subjects    every subject of the mesh, each as a Topic

Messages are JSON with snake_case keys (msgspec Structs). Fields may be added, never renamed or given
another meaning; unknown fields are ignored, so that old and new components understand each other.
"""
