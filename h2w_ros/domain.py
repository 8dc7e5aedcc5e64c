"""Whether a model knows the kind of world that it is shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DomainCheck:
    """Whether a model knows the kind of world that a recording shows, and why not."""

    out_of_domain: bool
    reason: str


def check_domain(model_domain: str, recording_domain: str) -> DomainCheck:
    """Whether the recording's kind of world is among those that the model was trained on."""
    if recording_domain in model_domain:
        return DomainCheck(False, "")
    known = f"the model has only seen {model_domain}"
    if recording_domain == "unknown":
        return DomainCheck(True, f"{known}, and the recording does not say what it shows; the prediction may mean nothing")
    return DomainCheck(True, f"{known}, and the recording is {recording_domain}; the prediction is not to be trusted")
