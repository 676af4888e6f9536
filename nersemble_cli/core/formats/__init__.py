"""Reading untrusted files, one format per module.

Reasons of errors are clauses that go on after the file's name: "is cut short".
"""

# That a file cannot be read does not show that its download went wrong; sizes and checksums do.
UNREADABLE_HINT = (
    "If it was downloaded, `nersemble inspect --verify` compares it with what the server sent; otherwise make it"
    " or copy it again."
)
