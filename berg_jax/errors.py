"""The errors that users meet: each says what was expected, what was got, and what to do."""


class BERGError(Exception):
    """Base of every error that is about the user's input, files or machine."""


class ModelNotFoundError(BERGError):
    """No model, subject or file under the given name."""


class ModelLoadError(BERGError):
    """A model's files are there but cannot be used."""


class UnsafeFileError(ModelLoadError):
    """A file asks for something that reading it must never do, such as running code."""


class IntegrityError(ModelLoadError):
    """A converted subject's files are not the ones that were written."""


class InvalidParameterError(BERGError):
    """An argument or option has a value that makes no sense here."""


class StimulusError(BERGError):
    """The images are not what the model takes."""


class ResourceError(BERGError):
    """The machine lacks something: disk space, write permission, a device."""


class ValidationError(BERGError):
    """Data that were read contradict each other."""


class Interrupted(BERGError):
    """The work was asked to stop; what was finished is recorded, and the same call goes on with the rest."""
