"""Proof: what a third party checks without trusting this home. Formats and checks; the store is written elsewhere.

    tree       inclusion and consistency in the log's Merkle tree (RFC 6962, RFC 9162)
    notes      signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature)
    approvals  what a person signs, and SSH signatures (SSHSIG)
    batches    what a worker signs
    evidence   the evidence file: its parts and its one canonical form
    export     from a home to an evidence file
    verify     from an evidence file, or a home, to a judgement
    witness    a second party that keeps checkpoints

`verify` and what it needs import no store, open no home and run no code of the file.
"""
