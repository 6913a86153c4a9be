from .experiment import certify, check_against
from .record import Certificate, read_certificate

__all__ = [
    "Certificate",
    "certify",
    "check_against",
    "read_certificate",
]
