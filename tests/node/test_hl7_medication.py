"""Steroids and immunosuppressants in orders (RDE) and administrations (RAS), on messages made for the test."""

from datetime import UTC, datetime

import pytest

from node.hl7.extracts import Medication, PatientExtract
from node.hl7.interpret import interpret_frame
from node.settings import Settings, Site

SETTINGS = Settings(site=Site(time_zone="Europe/Vienna"))
JANUARY = datetime(2026, 1, 9, 23, tzinfo=UTC)
"""2026-01-10 in Vienna."""


def medications(kind: str, *segments: str) -> tuple[Medication, ...]:
    msh = f"MSH|^~\\&|PHARM|H|NODE|V|20260302090000||{kind}|1|P|2.5"
    raw = "\r".join([msh, "PID|1||0042^^^H^MR||||19600229|F", *segments, ""]).encode()
    (one,) = interpret_frame(raw, SETTINGS)
    assert one.status == "used", one.reasons
    (patient,) = [item.extract for item in one.items]
    assert isinstance(patient, PatientExtract)
    return patient.medications


def rxe(drug: str, timing: str = "1^BID^^20260110^20260210") -> str:
    return f"RXE|{timing}|{drug}|5||mg"


@pytest.mark.parametrize(
    "drug",
    [
        "H02AB06^Prednisolon^ATC",
        "4711^Prednisolone 5 mg tablets^L",
        "1^X^L^L04AX03^^ATC",
        "8^\u7532\u6c28\u8776\u5464^L",  # methotrexate, Chinese
        "9^Azathioprin 50 mg^L",
    ],
)
def test_prescriptions_that_exclude(drug: str) -> None:
    (found,) = medications("RDE^O11", "ORC|NW|1", rxe(drug))
    assert found.started_at == JANUARY
    assert found.ended_at == datetime(2026, 2, 9, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    "segments",
    [
        ["ORC|NW|1", rxe("N02BE01^Paracetamol^ATC")],
        ["ORC|CA|1", rxe("H02AB06^Prednisolon^ATC")],
        ["ORC|NW|1", rxe("D07AA02^Hydrocortisone cream^ATC"), "RXR|TP^Topical^HL70162"],
        ["ORC|NW|1", rxe("R03BA02^Budesonide^ATC")],
        ["ORC|NW|1", rxe("H02^a local code that is not one of ATC^L")],
    ],
)
def test_prescriptions_that_do_not(segments: list[str]) -> None:
    assert medications("RDE^O11", *segments) == ()


def test_administrations() -> None:
    given = "RXA|0|1|20260110|20260110|H02AB02^Dexamethason^ATC|8|mg" + "|" * 13
    refused = given.replace("20260110", "20260111")
    (found,) = medications("RAS^O17", "ORC|RE|1", "RXR|IV", f"{given}CP", "RXR|IV", "ORC|RE|2", f"{refused}RE")
    assert (found.started_at, found.drug) == (JANUARY, "H02AB02^Dexamethason")


def test_each_order_has_its_own_time_route_and_state() -> None:
    found = medications(
        "RDE^O11",
        "ORC|CA|1", "TQ1|1||||||20260101|20260102", rxe("1^Prednison^L", ""),
        "ORC|NW|2", "TQ1|1||||||20260110", rxe("2^Prednison^L", ""),
        "ORC|NW|3", rxe("3^Prednison^L", ""), "RXR|IH",
        "ORC|NW|4|||||^^^20260115", rxe("4^Tacrolimus^L", ""),
    )  # fmt: skip
    assert [(one.drug, one.started_at) for one in found] == [
        ("2^Prednison", JANUARY),
        ("4^Tacrolimus", datetime(2026, 1, 14, 23, tzinfo=UTC)),
    ]
