"""What proxies measured, in the order in which a report meets it.

    settings     what the environment says
    ingest       hears every report and sees that it speaks only of its own sender
    ledger       one account per proxy, within bounds
    account      a proxy's runs: what grew since its last report, whatever the order of arrival
    track        one series through time, finer for the recent past
    counts       the numbers themselves: add, subtract, quantiles
    windows      what grew in a stretch of time, by source and target
    queries      the answers to `tulle stat` and `tulle edges`
    totals       what was counted for each edge since this process began, for Prometheus
    exposition   the same as text on `/metrics`
    service      all of this on a bus

From `ledger` to `totals` everything is pure: values in, values out, the time of receipt among them.
"""
