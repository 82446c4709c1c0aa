"""Blobs in a bucket, through the plain S3 API: works with AWS, MinIO, SeaweedFS and the like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, cast

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.stores.pieces import PIECE, Pieces
from shared.stores.process import PerProcess
from shared.stores.protocols import BlobInfo, BlobMissing, StorageFull, StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

#: S3 takes no smaller part of a multipart upload, but for the last
MIN_PART = 5 << 20
#: one part is held in memory at a time; 10,000 parts of it are 160 GB
_TRANSFER = TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, use_threads=False)
_MISSING = {"NoSuchKey", "404", "NotFound", "NoSuchUpload"}
_FULL = {"507", "XMinioStorageFull", "InsufficientStorage", "InsufficientCapacity", "QuotaExceeded"}


class S3Blobs:
    """A `BlobStore` in an S3 bucket.

    Parameters
    ----------
    bucket : str
        Bucket name.
    endpoint : str
        Address of the service; empty means AWS itself.
    public_endpoint : str
        Address under which clients reach it; empty: `presign_put` answers None.
    region, access_key, secret_key : str
        Without keys boto3 looks for them in its usual places, such as an instance's role.
    timeout_s : float
        How long to wait for a connection or for the next bytes before `StoreUnavailable`.
    """

    def __init__(
        self,
        bucket: str,
        *,
        endpoint: str = "",
        public_endpoint: str = "",
        region: str = "us-east-1",
        access_key: str = "",
        secret_key: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        self._bucket = bucket
        self._region = region
        self._endpoint = endpoint
        self._public = bool(public_endpoint)

        def connect(address: str) -> S3Client:
            return boto3.client(
                "s3",
                endpoint_url=address or None,
                region_name=region,
                aws_access_key_id=access_key or None,
                aws_secret_access_key=secret_key or None,
                config=Config(
                    # v4 always: the default for a presigned PUT is refused by servers when a type is sent
                    signature_version="s3v4",
                    s3={"addressing_style": "path" if address else "auto"},
                    # newer checksums are asked of no server that may not know them
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    retries={"total_max_attempts": 3, "mode": "standard"},
                    connect_timeout=timeout_s,
                    read_timeout=timeout_s,
                    max_pool_connections=32,
                ),
            )

        self._clients = PerProcess(lambda: connect(endpoint))
        self._public_clients = PerProcess(lambda: connect(public_endpoint))

    def ensure_ready(self) -> None:
        """See `BlobStore`."""
        with self._calls() as s3:
            try:
                s3.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if _code(error) not in {"404", "NoSuchBucket"}:
                    raise
                self._create_bucket(s3)

    def ping(self) -> None:
        """See `BlobStore`."""
        with self._calls() as s3:
            s3.head_bucket(Bucket=self._bucket)

    def put(
        self, key: str, data: bytes | BinaryIO, *, content_type: str = "application/octet-stream"
    ) -> BlobInfo:
        """See `BlobStore`."""
        stream = BytesIO(data) if isinstance(data, bytes) else _WholeReads(data)
        with self._calls(key) as s3:
            s3.upload_fileobj(
                cast(BinaryIO, stream),
                self._bucket,
                key,
                ExtraArgs={"ContentType": content_type},
                Config=_TRANSFER,
            )
        return self.info(key)

    def get(self, key: str) -> bytes:
        """See `BlobStore`."""
        return b"".join(self.open(key))

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `BlobStore`."""
        size = self.info(key).size if start or length is not None else None
        if length == 0 or (size is not None and start >= size):
            return Pieces(BytesIO().read, lambda: None)
        last = "" if length is None else str(start + length - 1)
        with self._calls(key) as s3:
            if size is None:
                body = s3.get_object(Bucket=self._bucket, Key=key)["Body"]
            else:
                body = s3.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-{last}")["Body"]

        def read(wanted: int) -> bytes:
            with self._calls(key):
                return body.read(wanted)

        return Pieces(read, body.close)

    def info(self, key: str) -> BlobInfo:
        """See `BlobStore`."""
        with self._calls(key) as s3:
            head = s3.head_object(Bucket=self._bucket, Key=key)
        return BlobInfo(
            key=key,
            size=head["ContentLength"],
            etag=head["ETag"].strip('"'),
            modified=head["LastModified"].timestamp(),
        )

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """See `BlobStore`."""
        with self._calls() as s3:
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    yield BlobInfo(
                        key=found["Key"],
                        size=found["Size"],
                        etag=found["ETag"].strip('"'),
                        modified=found["LastModified"].timestamp(),
                    )

    def children(self, prefix: str) -> Iterator[str]:
        """See `BlobStore`."""
        with self._calls() as s3:
            pages = s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, Delimiter="/"
            )
            for page in pages:
                names = [found["Prefix"] for found in page.get("CommonPrefixes", ())]
                names += [found["Key"] for found in page.get("Contents", ())]
                yield from (name.removeprefix(prefix).rstrip("/") for name in names)

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        with self._calls() as s3:
            s3.delete_object(Bucket=self._bucket, Key=key)

    def delete_prefix(self, prefix: str) -> int:
        """See `BlobStore`."""
        # one by one: DeleteObjects wants a checksum that servers disagree on, and scans hold few blobs
        keys = [blob.key for blob in self.list(prefix)]
        for key in keys:
            self.delete(key)
        return len(keys)

    def copy(self, source: str, target: str) -> None:
        """See `BlobStore`."""
        with self._calls(source) as s3:
            s3.copy({"Bucket": self._bucket, "Key": source}, self._bucket, target, Config=_TRANSFER)

    def compose(self, parts: Sequence[str], target: str) -> BlobInfo:
        """See `BlobStore`. Inside the server where the parts' sizes allow it, else through this process."""
        filled = [part for part in map(self.info, parts) if part.size]
        if len(filled) == 1:
            self.copy(filled[0].key, target)
            return self.info(target)
        if filled and all(part.size >= MIN_PART for part in filled[:-1]):
            self._compose_in_server([part.key for part in filled], target)
            return self.info(target)
        return self.put(target, cast(BinaryIO, _Chain(self.open(part.key) for part in filled)))

    def presign_put(self, key: str, *, seconds: int) -> str | None:
        """See `BlobStore`."""
        if not self._public:
            return None
        return self._public_clients.get().generate_presigned_url(
            "put_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=seconds
        )

    def local_path(self, key: str) -> str | None:  # noqa: ARG002
        """See `BlobStore`. A bucket has no paths."""
        return None

    def expire(self, prefix: str, *, days: int) -> None:
        """See `BlobStore`. The bucket drops multipart uploads that nobody finished, too."""
        with self._calls() as s3:
            s3.put_bucket_lifecycle_configuration(
                Bucket=self._bucket,
                LifecycleConfiguration={
                    "Rules": [
                        {
                            "ID": "stale-uploads",
                            "Status": "Enabled",
                            "Filter": {"Prefix": prefix},
                            "Expiration": {"Days": days},
                        },
                        {
                            "ID": "unfinished-multipart",
                            "Status": "Enabled",
                            "Filter": {"Prefix": ""},
                            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
                        },
                    ]
                },
            )

    def _create_bucket(self, s3: S3Client) -> None:
        try:
            if self._endpoint or self._region == "us-east-1":
                s3.create_bucket(Bucket=self._bucket)
            else:
                s3.create_bucket(
                    Bucket=self._bucket,
                    CreateBucketConfiguration={"LocationConstraint": self._region},  # type: ignore[typeddict-item]
                )
        except ClientError as error:
            if _code(error) not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise
            s3.head_bucket(Bucket=self._bucket)  # another process was quicker; somebody else's is no use

    def _compose_in_server(self, parts: Sequence[str], target: str) -> None:
        with self._calls(target) as s3:
            upload_id = s3.create_multipart_upload(Bucket=self._bucket, Key=target)["UploadId"]
            try:
                done: list[CompletedPartTypeDef] = []
                for number, part in enumerate(parts, start=1):
                    answer = s3.upload_part_copy(
                        Bucket=self._bucket,
                        Key=target,
                        UploadId=upload_id,
                        PartNumber=number,
                        CopySource={"Bucket": self._bucket, "Key": part},
                    )
                    done.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
                s3.complete_multipart_upload(
                    Bucket=self._bucket, Key=target, UploadId=upload_id, MultipartUpload={"Parts": done}
                )
            except BaseException:
                s3.abort_multipart_upload(Bucket=self._bucket, Key=target, UploadId=upload_id)
                raise

    @contextmanager
    def _calls(self, key: str = "") -> Iterator[S3Client]:
        """The client; its errors leave as the store's."""
        try:
            yield self._clients.get()
        except ClientError as error:
            if _code(error) in _MISSING and key:
                raise BlobMissing(key) from error
            if _code(error) in _FULL:
                raise StorageFull(f"{key}: {error}") from error
            raise StoreUnavailable(f"{key}: {error}") from error
        except (BotoCoreError, Boto3Error) as error:
            raise StoreUnavailable(f"{key}: {error}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


class _WholeReads:
    """A stream whose ``read(n)`` gives n bytes until its end: short reads would make parts too small."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, wanted: int = -1) -> bytes:
        if wanted < 0:
            return self._stream.read()
        pieces = []
        while wanted and (piece := self._stream.read(min(wanted, PIECE))):
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)


class _Chain:
    """Several blobs as one stream."""

    def __init__(self, blobs: Iterator[Iterator[bytes]]) -> None:
        self._blobs = blobs
        self._current: Iterator[bytes] = iter(())
        self._rest = b""

    def read(self, wanted: int = -1) -> bytes:
        while not self._rest:
            piece = next(self._current, None)
            if piece is not None:
                self._rest = piece
                continue
            following = next(self._blobs, None)
            if following is None:
                return b""
            self._current = following
        wanted = len(self._rest) if wanted < 0 else wanted
        piece, self._rest = self._rest[:wanted], self._rest[wanted:]
        return piece
