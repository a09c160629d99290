"""Pictures: pure functions from a record to a plotly figure, one file per panel."""
