"""The report card: each measurement with its definition, floor, control and interval."""
