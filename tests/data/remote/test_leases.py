import time

import pytest

from data.remote.addresses import S3Address
from data.remote.leases import LeasedError, hold_lease
from data.remote.objects import read_object, write_object
from tests.support.s3_server import Fault, Faulty, new_bucket


@pytest.fixture
def address(s3: Faulty) -> S3Address:
    del s3
    return new_bucket("team").child("set/.leases/one.json")


def test_one_run_has_the_lease_and_returns_it(address: S3Address) -> None:
    with hold_lease(address, "here", "s3://team/set, share 1/2"):
        with (
            pytest.raises(LeasedError, match=r"share 1/2: .*found one of here\. Remedy.*--shard"),
            hold_lease(address, "there", "s3://team/set, share 1/2"),
        ):
            pass
        # A run that was killed is started again on its machine.
        with hold_lease(address, "here", "s3://team/set"):
            pass
    assert read_object(address) is None
    with hold_lease(address, "there", "s3://team/set"):
        assert read_object(address) is not None


@pytest.mark.parametrize("stored", [b'{"holder": "there", "lasts_s": 0}', b"no json"])
def test_a_lease_that_ended_is_taken_over(address: S3Address, stored: bytes) -> None:
    write_object(address, stored)
    if stored.startswith(b"{"):
        with hold_lease(address, "here", "s3://team/set"):
            found = read_object(address)
            assert found is not None and b"here" in found.data
    else:  # nobody knows how long it lasts
        with pytest.raises(LeasedError), hold_lease(address, "here", "s3://team/set"):
            pass


def test_a_lease_is_renewed_and_a_lost_one_is_left_to_its_holder(
    s3: Faulty, address: S3Address
) -> None:
    with hold_lease(address, "here", "s3://team/set", lasts_s=0.06):
        before = s3.requests["PUT", f"/{address.bucket}/{address.key}"]
        while s3.requests["PUT", f"/{address.bucket}/{address.key}"] < before + 2:
            time.sleep(0.01)
        write_object(address, b'{"holder": "there"}')
    found = read_object(address)
    assert found is not None and b"there" in found.data


def test_a_lost_answer_is_no_other_run(s3: Faulty, address: S3Address) -> None:
    s3.faults.append(Fault("lost", "PUT", "one.json"))
    with hold_lease(address, "here", "s3://team/set"):
        pass
    assert read_object(address) is None
