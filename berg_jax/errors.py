"""Exceptions that users meet; each message says what was expected, what was found, and what to do."""


class BERGError(Exception):
    """Base class of all errors that concern the user's input, files or machine."""


class ModelNotFoundError(BERGError):
    """There is no model, subject or file of the given name."""


class ModelLoadError(BERGError):
    """A model's files exist but cannot be used."""


class UnsafeFileError(ModelLoadError):
    """A file requests something that reading must never do, such as running code."""


class IntegrityError(ModelLoadError):
    """Files are damaged, or are not the ones that were written."""


class InvalidParameterError(BERGError):
    """An argument or option has an invalid value."""


class StimulusError(BERGError):
    """The images are not in the form that the model takes."""


class ResourceError(BERGError):
    """The machine lacks something, such as disk space, write permission, or a device."""


class ValidationError(BERGError):
    """Data that have been read contradict each other."""


class Interrupted(BERGError):
    """The work was asked to stop; finished work is recorded, and the same call continues with the rest."""


class Unfinished(BERGError):
    """A process has done its share, and others still owe theirs: the output is not complete yet."""
