"""Reading untrusted files, one format per module.

Reasons of errors are clauses that go on after the file's name: "is cut short".
"""
