"""What of a CSI message may leave the driver, and what never does."""

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import assume, given
from hypothesis import strategies as st

from csitrace.csi import csi_pb2 as csi
from csitrace.feed.calls import CallTracer
from csitrace.feed.conversion import FeedBody, FeedEvent, encode
from csitrace.feed.publisher import Publisher
from csitrace.feed.redaction import MAX_ITEMS, MAX_TEXT, REDACTED, is_secret, redact, scrub, secrets_of
from csitrace.model.rpc import Code

# Long enough not to be part of something innocent by chance, from the letters in which credentials are written.
secret_texts = st.text(
    st.characters(exclude_categories=["C"], exclude_characters="\u2028\u2029"), min_size=8, max_size=40
).filter(lambda text: len(set(text.strip())) >= 5)


def secret_fields() -> Iterator[tuple[Descriptor, FieldDescriptor]]:
    """Every field of csi.proto that carries the mark."""
    for message in csi.DESCRIPTOR.message_types_by_name.values():
        for field in message.fields:
            if field.GetOptions().Extensions[csi.csi_secret]:
                yield message, field


SECRET_FIELDS = list(secret_fields())


def test_the_marks_of_csi_proto_are_seen() -> None:
    """The fields found through raw options are those that carry the registered extension, and there are some."""
    found = {
        field.full_name
        for message in csi.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if is_secret(field)
    }
    assert found == {field.full_name for _, field in SECRET_FIELDS}
    assert "csi.v1.NodeStageVolumeRequest.secrets" in found


class WirePublisher(Publisher):
    """Keeps the bytes of what it publishes."""

    def __init__(self) -> None:
        super().__init__("d", "n", clock=lambda: 1)
        self.wire: list[bytes] = []

    def publish(self, body: FeedBody, occurred_at: int | None = None) -> None:
        self.wire.append(encode(FeedEvent(1, 1, body), self.origin).SerializeToString())


@pytest.mark.parametrize("method_and_field", SECRET_FIELDS, ids=lambda pair: pair[1].full_name)
@given(secret=secret_texts, key=st.sampled_from(["password", "token", "x"]))
def test_no_secret_is_in_an_encoded_event(
    method_and_field: tuple[Descriptor, FieldDescriptor], secret: str, key: str
) -> None:
    """Whatever is put into a csi_secret field is in neither the start nor the end of the call, even when the error cites it."""
    descriptor, field = method_and_field
    method = f"/csi.v1.Any/{descriptor.name}"
    assume(secret not in method and secret not in REDACTED)
    request = message_factory.GetMessageClass(descriptor)()
    getattr(request, field.name)[key] = secret
    publisher = WirePublisher()
    call = CallTracer(publisher).start(method, request)
    call.finish(Code.INTERNAL, f"login failed with {dict(getattr(request, field.name))}, that is {secret}")
    assert len(publisher.wire) == 2
    forms = (secret.encode(), json.dumps(secret)[1:-1].encode())
    assert not any(form in event for event in publisher.wire for form in forms)


@given(secret=secret_texts)
def test_secrets_are_found_in_every_form_of_a_message(secret: str) -> None:
    """Quoted, escaped, URL-encoded and base64 forms are removed like the plain one."""
    forms = [
        secret,
        repr(secret),
        json.dumps(secret),
        quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode(),
    ]
    text = scrub(" and ".join(f"[{form}]" for form in forms), frozenset({secret}))
    assert secret not in text
    assert not any(form.strip("\"'") in text for form in forms)


def test_a_short_secret_is_removed_as_a_word_only() -> None:
    """A secret of three letters or fewer does not tear other words apart."""
    assert scrub("user ab failed: absent", frozenset({"ab"})) == f"user {REDACTED} failed: absent"


def test_one_line_of_a_key_is_a_secret_too() -> None:
    """An error that cites one line of a private key does not tell it."""
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n"
    assert "MIIE" not in scrub("bad PEM near 'MIIEvQIBADANBg'", frozenset({key}))


def test_what_identifies_a_volume_is_told() -> None:
    """Ids, names, paths, sizes, modes and topology stay; an empty block request is still one."""
    request = csi.CreateVolumeRequest(name="pvc-1")
    request.capacity_range.required_bytes = 5
    capability = request.volume_capabilities.add()
    capability.mount.fs_type = "ext4"
    capability.access_mode.mode = csi.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
    request.volume_capabilities.add().block.SetInParent()
    request.accessibility_requirements.preferred.add().segments["topology.example.com/zone"] = "z1"
    assert redact(request) == {
        "name": "pvc-1",
        "capacity_range": {"required_bytes": 5},
        "volume_capabilities": [
            {"mount": {"fs_type": "ext4"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}},
            {"block": {}},
        ],
        "accessibility_requirements": {"preferred": [{"segments": {"topology.example.com/zone": "z1"}}]},
    }


def test_parameters_keep_their_keys_and_known_values() -> None:
    """Of contexts and parameters every key is told, the value only under keys that Kubernetes itself sets."""
    request = csi.CreateVolumeRequest(name="n")
    request.parameters.update({"csi.storage.k8s.io/pvc/name": "data", "account": "acme"})
    assert redact(request)["parameters"] == {"csi.storage.k8s.io/pvc/name": "data", "account": REDACTED}


def test_service_account_tokens_are_secrets() -> None:
    """Tokens in the volume context are neither told nor left in an error message."""
    tokens = json.dumps({"aud": {"token": "eyJhbGciOi", "expirationTimestamp": "2026-01-01T00:00:00Z"}})
    request = csi.NodePublishVolumeRequest(volume_id="v")
    request.volume_context["csi.storage.k8s.io/serviceAccount.tokens"] = tokens
    assert redact(request)["volume_context"] == {"csi.storage.k8s.io/serviceAccount.tokens": REDACTED}
    assert scrub("token eyJhbGciOi expired", secrets_of(request)) == f"token {REDACTED} expired"


def test_mount_flags_lose_credentials() -> None:
    """Options are told, the values of those that may hold a credential are not."""
    capability = csi.VolumeCapability()
    capability.mount.mount_flags.extend(["ro", "nfsvers=4.1", "username=bob,password=pa,vers=3.0"])
    assert redact(capability)["mount"]["mount_flags"] == [
        "ro",
        "nfsvers=4.1",
        f"username={REDACTED},password={REDACTED},vers=3.0",
    ]


def test_text_in_unknown_fields_is_not_told() -> None:
    """A text field that the allow-list does not name is only known to be there."""
    assert redact(csi.ListVolumesRequest(starting_token="opaque", max_entries=3)) == {
        "starting_token": REDACTED,
        "max_entries": 3,
    }


def test_long_lists_and_texts_are_cut_and_say_so() -> None:
    """A page of a thousand volumes is told as its first ones and the number of the others."""
    response = csi.ListVolumesResponse()
    for number in range(1000):
        response.entries.add().volume.volume_id = f"v{number}"
    told = redact(response)
    assert len(told["entries"]) == MAX_ITEMS
    assert told["entries_omitted"] == 1000 - MAX_ITEMS
    condition = redact(csi.VolumeCondition(message="x" * (MAX_TEXT + 7)))
    assert condition["message"] == "x" * MAX_TEXT + "… (7 more characters)"


def foreign_request(mark_secret: bool) -> Message:
    """A driver's own csi.proto, in a pool that has never heard of the csi_secret extension."""
    file = descriptor_pb2.FileDescriptorProto(name="own/csi.proto", package="csi.v1", syntax="proto3")
    message = file.message_type.add(name="NodeStageVolumeRequest")
    message.field.add(name="volume_id", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    entry = message.nested_type.add(name="SecretsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    entry.field.add(name="value", number=2, type="TYPE_STRING", label="LABEL_OPTIONAL")
    type_name = ".csi.v1.NodeStageVolumeRequest.SecretsEntry"
    secrets = message.field.add(name="secrets", number=5, label="LABEL_REPEATED", type_name=type_name)
    secrets.type = FieldDescriptor.TYPE_MESSAGE
    name = message.field.add(name="name", number=6, type="TYPE_STRING", label="LABEL_OPTIONAL")
    if mark_secret:
        name.options.MergeFromString(b"\x98\x42\x01")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("csi.v1.NodeStageVolumeRequest"))()
    return json_format.ParseDict(
        {"volume_id": "v", "secrets": {"password": "hunter2hunter2"}, "name": "hidden-name"}, made
    )


def test_foreign_descriptors_are_understood() -> None:
    """A mark in options nobody registered, and a `secrets` map whose options were stripped, are honoured."""
    assert redact(foreign_request(mark_secret=True)) == {"volume_id": "v"}
    assert redact(foreign_request(mark_secret=False)) == {"volume_id": "v", "name": "hidden-name"}
    assert secrets_of(foreign_request(mark_secret=True)) == {"hunter2hunter2", "hidden-name"}


def test_what_is_no_message_tells_nothing() -> None:
    """A handler without protobuf (bytes, None) is traced without payload."""
    assert redact(b"raw") == redact(None) == {}
    assert secrets_of(b"raw") == frozenset()
