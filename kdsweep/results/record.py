"""The record of a job: one JSON file in its folder, the source of every table and verdict."""

RECORD = "result.json"
