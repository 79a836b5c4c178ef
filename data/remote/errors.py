"""Errors of transfers from and to other machines; their messages state the remedy."""


class RemoteError(RuntimeError):
    """Something on another machine cannot be read or written."""


class MissingError(RemoteError):
    """There is no such object, bucket or page."""


class DeniedError(RemoteError):
    """The other machine refuses access, or there are no credentials."""


class ChangedError(RemoteError):
    """An object is not in the expected state any more: somebody else wrote it."""


class CutError(RemoteError):
    """The connection ended in the middle of a transfer."""


class UnsuitableError(RemoteError):
    """What an address names cannot be used, such as a page instead of a file."""


class TooLargeError(UnsuitableError):
    """A file is larger than the limit."""
