"""All messages of RFC 4475 and RFC 5118."""

from tests.torture.invalid import INVALID
from tests.torture.ipv6 import IPV6
from tests.torture.layers import LAYERS
from tests.torture.valid import VALID

RFC4475 = (*VALID, *INVALID, *LAYERS)
CORPUS = (*RFC4475, *IPV6)
