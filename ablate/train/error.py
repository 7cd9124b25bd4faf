"""What the user is told where a trial cannot be trained as its spec says."""


class TrainingError(Exception):
    """The trial cannot be trained as specified; the message says which key to change."""
