"""Scenarios that are written and cannot pass yet, each with what the server lacks."""

PENDING = {
    name: lacking
    for lacking, names in {
        "maintenance has no route yet": [
            "pushes_under_maintenance_arrive_afterwards",
            "pops_under_maintenance_get_nothing",
        ],
    }.items()
    for name in names
}
