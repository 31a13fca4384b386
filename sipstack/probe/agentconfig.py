"""How the user agent is set: light, and doing nothing on its own.

Light: 8 kHz, 20 ms, no echo canceller. Nothing on its own: no NAT tricks, no DNS, no retries, so that what
works with it works because of the system under proof.
"""

import os
import socket
from typing import Any

import pjsua2 as pj  # type: ignore[import-untyped]

from sipstack.probe.tone import RATE


class LogWriter(pj.LogWriter):  # type: ignore[misc]
    """Writes each line to standard error at once: pjsua's own file lags 4 kB behind, and dies with it."""

    def write(self, entry: Any) -> None:
        os.write(2, entry.msg.rstrip().encode(errors="replace") + b"\n")


def address_towards(proxy: str | None) -> str:
    """Our own address on the way to the proxy; without one a phone stays on loopback."""
    if proxy is None:
        return "127.0.0.1"
    host, _, port = proxy.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, int(port)))  # sends nothing: the kernel only looks up the route
        return str(sock.getsockname()[0])


def endpoint_config() -> pj.EpConfig:
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0  # SIP runs in handle_events; only RTP and its clock have threads
    config.uaConfig.userAgent = "sipstack-probe"
    config.uaConfig.natTypeInSdp = 0
    config.logConfig.writer = LogWriter().__disown__()  # the endpoint deletes it
    config.logConfig.level = 4
    config.logConfig.consoleLevel = 4  # what the writer gets
    config.logConfig.msgLogging = 1
    config.medConfig.clockRate = config.medConfig.sndClockRate = RATE
    config.medConfig.ptime = config.medConfig.audioFramePtime = 20
    config.medConfig.ecTailLen = 0
    config.medConfig.quality = 1
    config.medConfig.noVad = True  # silence is sent too: packets are counted
    return config


def bound_to(address: str) -> pj.TransportConfig:
    config = pj.TransportConfig()
    # Named, because the library would ask the resolver for the host's own name otherwise.
    config.boundAddress = config.publicAddress = address
    return config


def account_config(settings: dict[str, Any], local: str) -> pj.AccountConfig:
    config = pj.AccountConfig()
    config.idUri = f"sip:{settings['user']}@{settings['domain']}"
    if settings["password"]:
        credentials = pj.AuthCredInfo("digest", "*", settings["user"], 0, settings["password"])
        config.sipConfig.authCreds.append(credentials)
    if settings["proxy"]:
        config.sipConfig.proxies.append(f"sip:{settings['proxy']};transport={settings['transport']};lr")
        config.regConfig.registrarUri = f"sip:{settings['domain']}"
    registration = config.regConfig
    registration.registerOnAdd = False
    registration.disableRegOnModify = True
    registration.retryIntervalSec = registration.firstRetryIntervalSec = 0
    nat = config.natConfig
    nat.sipOutboundUse = nat.contactRewriteUse = nat.viaRewriteUse = nat.sdpNatRewriteUse = 0
    nat.contactUseSrcPort = 0
    nat.iceEnabled = False
    nat.sipStunUse = nat.mediaStunUse = pj.PJSUA_STUN_USE_DISABLED
    nat.udpKaIntervalSec = settings["keepalive"]
    config.callConfig.prackUse = pj.PJSUA_100REL_NOT_USED
    config.callConfig.timerUse = pj.PJSUA_SIP_TIMER_OPTIONAL
    media = config.mediaConfig
    media.srtpUse = pj.PJMEDIA_SRTP_DISABLED
    media.lockCodecEnabled = False  # it would send a re-INVITE of its own
    media.transportConfig = bound_to(local)
    # Apart from the ports that a media relay on the same machine takes.
    media.transportConfig.port = 40_000
    media.transportConfig.portRange = 9_000
    media.transportConfig.randomizePort = True
    return config


def tone(hz: int) -> pj.ToneGenerator:
    desc = pj.ToneDesc()
    desc.freq1, desc.freq2, desc.on_msec, desc.off_msec = hz, 0, 1000, 0
    tones = pj.ToneDescVector()
    tones.append(desc)
    generator = pj.ToneGenerator()
    generator.createToneGenerator(RATE, 1)
    generator.play(tones, True)
    return generator
