"""Files to and from a store, whole or not at all: an S3 endpoint through boto3, or a folder that is shared.

Every part that is sent carries its MD5, which the store checks; what is fetched is checked against the SHA-256 that its
listing says. Refusals, throttling and broken connections are tried again by boto3 with growing, random waits; a body
that ends early goes on where it ended.
"""

import base64
import contextlib
import hashlib
import io
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlsplit

from ndm.data.places import Place
from ndm.data.publish import publish
from ndm.errors import UserError
from ndm.listing import File, same

ATTEMPTS = 8
"""Of one request by boto3, which waits at most 20 s between two; and of one file by us."""
WRONG = 3
"""Times that a file may come whole and not be what it should: a beginning that was kept may be at fault, or the way."""
PART = 16 << 20
"""Bytes of a part of a larger file, held in memory."""
SMALL = 64 << 20
"""Bytes of a file that is read into memory."""
THREADS = 8
"""Files on their way at a time."""
CONNECT_SECONDS, READ_SECONDS = 10, 60


class Changed(Exception):
    """What was to be replaced is no longer what it was."""


def send(source: Path, target: Place) -> File:
    """Copy a file to a store; returns what was sent.

    Raises:
        UserError: the store does not take it.
        OSError: the file cannot be read.
    """
    if not target.system:
        return _copy(source, Path(target.path))
    with source.open("rb") as stream, answering(target):
        return _send(stream, target)


def write(content: bytes, target: Place) -> None:
    """Copy bytes to a store. UserError if it does not take them."""
    if not target.system:
        Path(target.path).parent.mkdir(parents=True, exist_ok=True)
        return publish(Path(target.path), content)
    with answering(target):
        _send(io.BytesIO(content), target)


def fetch(source: Place, wanted: File, target: Path) -> None:
    """Bring a file of known content from a store; one that was begun is completed, one that is there is left alone.

    Raises:
        UserError: the store does not give it, or gives something else.
    """
    if same(target, wanted):
        return
    partial = target.with_name(f".{target.name}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for attempt in range(ATTEMPTS):
        with answering(source):
            _fetch(source, wanted, partial)
        if same(partial, wanted):
            os.replace(partial, target)
            return
        if partial.stat().st_size >= wanted.bytes:
            partial.unlink()
            wrong += 1
            if wrong == WRONG:
                raise UserError(
                    f"{source} is not what its listing says: it was damaged in the store; push the run again."
                )
        time.sleep(min(0.1 * 2**attempt, 5.0) * random.random())
    raise UserError(f"{source} does not arrive whole: repeat the command, which goes on where it ended.")


def read(source: Place) -> tuple[bytes, str] | None:
    """A small file with the mark by which the store knows this version of it; None if there is none.

    Raises:
        UserError: the store does not answer.
    """
    if not source.system:
        path = Path(source.path)
        content = path.read_bytes() if path.is_file() else None
        return None if content is None else (content, hashlib.md5(content, usedforsecurity=False).hexdigest())
    bucket, key = _address(source)
    with answering(source):
        for attempt in range(ATTEMPTS):
            try:
                answer = client(source.system).get_object(Bucket=bucket, Key=key)
            except _errors().ClientError as error:
                if _status(error) == 404 and _code(error) != "NoSuchBucket":
                    return None
                raise
            if answer["ContentLength"] > SMALL:
                raise UserError(f"{source} has {answer['ContentLength']} bytes, more than a listing may have.")
            try:
                return answer["Body"].read(), answer["ETag"].strip('"')
            except _broken():  # the request itself is tried again by boto3
                if attempt == ATTEMPTS - 1:
                    raise
    raise AssertionError


def replace(target: Place, content: bytes, mark: str | None) -> None:
    """Write a small file in the place of the version with that mark, or, for None, where there is none.

    Raises:
        Changed: another version is there; nothing was written.
        UserError: the store does not take it.
    """
    if not target.system:
        found = read(target)
        if (found and found[1]) != mark:
            raise Changed
        Path(target.path).parent.mkdir(parents=True, exist_ok=True)
        return publish(Path(target.path), content)
    bucket, key = _address(target)
    # The mark without quotes: Ceph compares it so, and AWS takes either.
    only: dict[str, Any] = {"IfNoneMatch": "*"} if mark is None else {"IfMatch": mark}
    with answering(target):
        try:
            client(target.system).put_object(Bucket=bucket, Key=key, Body=content, ContentMD5=_md5(content), **only)
        except _errors().ClientError as error:
            if _status(error) not in (404, 409, 412) or _code(error) == "NoSuchBucket":
                raise
            found = read(target)  # an answer that was lost is asked for again, and then finds its own work
            if found is None or found[0] != content:
                raise Changed from None


def delete(place: Place, files: list[str]) -> None:
    """Remove files of a folder, in that order; those that are not there are no matter. UserError as for `send`."""
    if not place.system:
        for file in files:
            (Path(place.path) / file).unlink(missing_ok=True)
        return shutil.rmtree(place.path, ignore_errors=True)
    with answering(place):
        for file in files:
            bucket, key = _address(place / file)
            client(place.system).delete_object(Bucket=bucket, Key=key)


def names(place: Place) -> list[str]:
    """The folders in a folder, sorted. UserError if the store does not answer."""
    if not place.system:
        path = Path(place.path)
        return sorted(entry.name for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
    bucket, key = _address(place)
    with answering(place):
        pages = client(place.system).get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=bucket, Prefix=f"{key}/", Delimiter="/")
        return sorted(one["Prefix"].split("/")[-2] for page in found for one in page.get("CommonPrefixes", []))


def files(place: Place) -> dict[str, int]:
    """All files below a folder, with their sizes, by relative path. UserError if the store does not answer."""
    if not place.system:
        root = Path(place.path)
        return {p.relative_to(root).as_posix(): p.stat().st_size for p in sorted(root.rglob("*")) if p.is_file()}
    bucket, key = _address(place)
    with answering(place):
        pages = client(place.system).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{key}/")
        return {one["Key"][len(key) + 1 :]: one["Size"] for page in pages for one in page.get("Contents", [])}


@lru_cache
def client(system: str) -> Any:
    """boto3's client of a store, which threads may share; `system` as in `Place`."""
    import boto3
    from botocore.config import Config

    options = dict(parse_qsl(urlsplit(system).query))
    endpoint = options.get("endpoint_override")
    if endpoint and "://" not in endpoint:
        endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    own = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        s3={"addressing_style": "path"} if own else {},
        request_checksum_calculation="when_required",  # Ceph refuses the newer ones
        response_checksum_validation="when_required",
        max_pool_connections=16,
    )
    try:
        return boto3.client(
            "s3", endpoint_url=endpoint, region_name=region or ("us-east-1" if own else None), config=config
        )
    except (ValueError, _errors().BotoCoreError):
        raise UserError(f"The store of {system} has an address that is none: check AWS_ENDPOINT_URL.") from None


@contextmanager
def answering(what: Place) -> Iterator[None]:
    """Turns the errors of a store into a sentence that names the place and the remedy.

    Raises:
        UserError: there is no such bucket, it may not be used, or the store does not answer.
    """
    try:
        yield
    except _errors().ClientError as error:
        bucket, status = what.path.partition("/")[0], _status(error)
        if _code(error) == "NoSuchBucket":
            raise UserError(f"There is no bucket s3://{bucket}: create it, or correct storage.store=...") from None
        if status in (401, 403):
            raise UserError(
                f"{what} may not be used with the credentials that were found: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE, or correct storage.store=..."
            ) from None
        if status == 404:
            raise UserError(f"There is nothing at {what}; correct the name, or storage.store=...") from None
        raise UserError(f"The store refuses {what} ({_code(error)}): repeat the command when it is well.") from None
    except _errors().NoCredentialsError:
        raise UserError(
            f"No credentials for {what} were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_SHARED_CREDENTIALS_FILE."
        ) from None
    except _errors().BotoCoreError:
        raise UserError(
            f"The store of {what} does not answer: check AWS_ENDPOINT_URL and the network, or correct storage.store=..."
        ) from None


def _send(stream: BinaryIO, target: Place) -> File:
    bucket, key = _address(target)
    store, whole = client(target.system), hashlib.sha256()
    content = stream.read(PART)
    whole.update(content)
    if len(content) < PART:
        store.put_object(Bucket=bucket, Key=key, Body=content, ContentMD5=_md5(content))
        return File(bytes=len(content), sha256=whole.hexdigest())
    upload = {"Bucket": bucket, "Key": key}
    upload["UploadId"] = store.create_multipart_upload(**upload)["UploadId"]
    try:
        parts = []
        while content:
            number = len(parts) + 1
            sent = store.upload_part(Body=content, ContentMD5=_md5(content), PartNumber=number, **upload)
            parts.append({"PartNumber": number, "ETag": sent["ETag"]})
            content = stream.read(PART)
            whole.update(content)
        store.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)
    except BaseException:
        with contextlib.suppress(Exception):
            store.abort_multipart_upload(**upload)
        raise
    return File(bytes=stream.tell(), sha256=whole.hexdigest())


def _fetch(source: Place, wanted: File, partial: Path) -> None:
    """Bring what is missing of a file, as far as the connection holds."""
    begun = partial.stat().st_size if partial.exists() else 0
    if begun >= wanted.bytes:
        begun = 0  # whatever it is, it is not the file
    with partial.open("r+b" if begun else "wb") as stream:
        stream.seek(begun)
        if not source.system:
            with Path(source.path).open("rb") as there:
                there.seek(begun)
                return shutil.copyfileobj(there, stream)
        if wanted.bytes == 0:
            return None
        bucket, key = _address(source)
        answer = client(source.system).get_object(Bucket=bucket, Key=key, Range=f"bytes={begun}-{wanted.bytes - 1}")
        with contextlib.suppress(*_broken()):  # told by the size
            while block := answer["Body"].read(1 << 20):
                stream.write(block)
    return None


def _copy(source: Path, target: Path) -> File:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, partial)
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(partial, target)
    return File.of(target)


def parallel(work: Callable[[str], None], keys: list[str], done: Callable[[str], None]) -> None:
    """Do the work for every key, some at a time; the first error ends it."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    with ThreadPoolExecutor(THREADS) as pool:
        waiting = {pool.submit(work, key): key for key in keys}
        try:
            for future in as_completed(waiting):
                future.result()
                done(waiting[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _address(place: Place) -> tuple[str, str]:
    bucket, _, key = place.path.partition("/")
    return bucket, key


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _errors() -> Any:
    import botocore.exceptions

    return botocore.exceptions


def _broken() -> tuple[type[Exception], ...]:
    """What a body raises that ends early."""
    return _errors().HTTPClientError, _errors().IncompleteReadError


def _status(error: Any) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _code(error: Any) -> str:
    return error.response.get("Error", {}).get("Code", "")
