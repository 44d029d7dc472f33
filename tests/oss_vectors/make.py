"""Makes vectors.json: OSS V4 signatures (OSS4-HMAC-SHA256) by the official SDKs, for the tests of our own signer.

    python3 -m venv VENV && VENV/bin/pip install -r tests/oss_vectors/requirements.txt
    npm install --prefix MODULES ali-oss@6.23.0
    VENV/bin/python tests/oss_vectors/make.py MODULES

Three SDKs sign each case: `alibabacloud-oss-v2` and `oss2` here, `ali-oss` through make.mjs beside this file. Nothing
is sent anywhere, and the time is each case's own, so the same versions write the same file again.

A vector goes into the groups `header`, `query` and `policy` only if all three agree on its canonical request, its
string to sign and its signature. Cases on which they differ stand under `disputed`, with what each SDK says, and are
no test. The script fails when a case is on the wrong side, or when a signature differs from the one that the SDKs' own
unit tests publish for the same input.
"""

import base64
import copy
import datetime
import hashlib
import hmac
import importlib.metadata
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from urllib.parse import quote, unquote, urlencode, urlsplit

import alibabacloud_oss_v2 as oss_v2
import oss2
import oss2.auth
from alibabacloud_oss_v2.signer import SignerV4
from alibabacloud_oss_v2.types import HttpRequest, SigningContext

HERE = Path(__file__).parent
PINNED = {"alibabacloud-oss-v2": "1.4.1", "oss2": "2.19.1", "ali-oss": "6.23.0"}
V2, OSS2, ALI = (f"{name} {version}" for name, version in PINNED.items())

ABOUT = {
    "header": "Inputs, then what signing in the Authorization header gives. `headers` are the caller's: the signer adds"
    " x-oss-date, x-oss-content-sha256: UNSIGNED-PAYLOAD and, with a token, x-oss-security-token. `key` and `query` are"
    " raw, not yet encoded; a query value of null means a name without a value.",
    "query": "The same for a pre-signed URL that lives `expires` seconds. `query_parameters` are the URL's parameters,"
    " decoded and sorted as they are signed, the signature last; `url_query` is the same, encoded.",
    "policy": "A POST form: `policy_base64` is the base64 of the policy's JSON text and, as it stands, the string to"
    " sign. `form` holds the fields that go with it.",
    "disputed": "Not for tests: the SDKs give different answers, each under `results`.",
}

# The default inputs of a case.
COMMON = {
    "method": "PUT",
    "bucket": "example-bucket",
    "key": "u1/report.txt",
    "query": [],
    "headers": [],
    "additional_headers": [],
    "access_key_id": "example-key-id",
    "access_key_secret": "example-key-secret",
    "security_token": None,
    "region": "ap-southeast-1",
    "time": "20260922T041335Z",
}
TOKEN = "CAIS+example/token/with+signs/and=padding=="
STS = {"access_key_id": "STS.exampleKeyId", "security_token": TOKEN}
HOST = "example-bucket.oss-ap-southeast-1.aliyuncs.com"
BROWSER = "aliyun-sdk-js/6.23.0 Chrome 140.0.0.0 on Windows 10 64-bit"
PART = [["partNumber", "7"], ["uploadId", "0004B9895DBBB6EC98E36"]]

# The inputs and expected signatures of the unit tests of the SDKs.
THEIRS = {
    "bucket": "bucket",
    "key": "1234+-/123/1.txt",
    "query": [
        ["param1", "value1"],
        ["+param1", "value3"],
        ["|param1", "value4"],
        ["+param2", None],
        ["|param2", None],
        ["param2", None],
    ],
    "access_key_id": "ak",
    "access_key_secret": "sk",
    "region": "cn-hangzhou",
}


def moment(time):
    return datetime.datetime.strptime(time, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)


def their_headers(content_type):
    return [
        ["x-oss-head1", "value"],
        ["abc", "value"],
        ["ZAbc", "value"],
        ["XYZ", "value"],
        ["content-type", content_type],
    ]


THEIR_PUT = THEIRS | {"headers": their_headers("text/plain")}
THEIR_URL = THEIRS | {"headers": their_headers("application/octet-stream"), "expires": 599}

KEYS = {
    "plain": "report.txt",
    "space": "u1/my annual report.txt",
    "leading_and_trailing_space": " u1/ report .txt ",
    "plus": "u1/a+b++c.txt",
    "percent": "u1/100% sure%.txt",
    "percent_2b": "u1/a%2Bb%2b.txt",
    "percent_2f": "u1/a%2Fb%252F.txt",
    "cjk": "u1/学习资料_第一章.pdf",
    "emoji": "u1/🙂👩‍👩‍👧‍👦🇸🇬.png",
    "combining_accents": "u1/Gru\u0308\u00dfe.txt",
    "unreserved": "u1/~tilde.dot_under-dash~.~",
    "quotes": 'u1/it\'s "quoted" `so`.txt',
    "ampersand_equals": "u1/a=1&b=2&&c==3.txt",
    "question_hash": "u1/what?part#1?#.txt",
    "reserved": "u1/!*'();:@&=+$,?#[].txt",
    "other_ascii": "u1/<a>|b\\c^{d}.txt",
    "control": "u1/tab\there\nand\u007f.txt",
    "leading_slash": "/u1/report.txt",
    "empty_segments": "u1//a///b.txt",
    "dot_segments": "u1/./a/../b/...txt",
    "longest_ascii": "u1/" + "0123456789abcdefghijklmnopqrstuvwxyz ABCDEF+" * 23 + "end.txt!",
    "longest_cjk": "长" * 341,
}

# Keys with special characters in a URL.
URL_KEYS = ["space", "plus", "percent_2b", "cjk", "emoji", "unreserved", "reserved", "leading_slash", "empty_segments"]

HEADER = {
    **{f"key_{name}": {"key": key} for name, key in KEYS.items()},
    "get": {"method": "GET"},
    "head": {"method": "HEAD"},
    "delete": {"method": "DELETE"},
    "bucket_itself": {"method": "GET", "key": ""},
    "sts": STS,
    "sts_browser_put": STS | {"headers": [["Content-Type", "image/png"], ["x-oss-user-agent", BROWSER]]},
    "region_cn_hangzhou": {"region": "cn-hangzhou"},
    "secret_of_signs": {"access_key_secret": "s+/=%&?#~ é", "access_key_id": "key.id_1-2"},
    "last_second_of_year": {"time": "20271231T235959Z"},
    "leap_day_midnight": {"time": "20280229T000000Z"},
    "query_uploads": STS | {"method": "POST", "query": [["uploads", None]]},
    "query_part": STS | {"query": PART},
    "query_part_reversed": STS | {"query": PART[::-1]},
    "query_complete": STS
    | {
        "method": "POST",
        "query": PART[1:],
        "headers": [["Content-Type", "application/xml"], ["Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="]],
    },
    "query_abort": STS | {"method": "DELETE", "query": PART[1:]},
    "query_list_parts": {
        "method": "GET",
        "query": [["uploadId", "0A/b+c=="], ["max-parts", "1000"], ["part-number-marker", "0"]],
    },
    "query_list_objects": {
        "method": "GET",
        "key": "",
        "query": [["prefix", "u1/学 习+"], ["delimiter", "/"], ["max-keys", "100"], ["list-type", "2"]],
    },
    "query_values_to_encode": {
        "method": "GET",
        "query": [["a", "1 2"], ["b", "1+2"], ["c", "%2B"], ["d", "x=y&z"], ["e", "~._-"], ["f", "!*'()"], ["g", "🙂"]],
    },
    "query_names_to_encode": {"method": "GET", "query": [["a b", "1"], ["c/d", None], ["e=f&g", "2"], ["h%20", "3"]]},
    "query_name_cjk": {"method": "GET", "query": [["名 称", "值"]]},
    "query_sorted_encoded": {"method": "GET", "query": [["p0", "1"], ["p:", "2"], ["pz", "3"], ["p|", "4"]]},
    "query_name_begins_another": {
        "method": "GET",
        "query": [["a0", "4"], ["a-b", "3"], ["ab", None], ["a", "2"], ["a.b", None]],
    },
    "query_valueless_among_others": {
        "method": "GET",
        "query": [["versionId", "v1"], ["acl", None], ["tagging", None], ["b", "0"]],
    },
    "headers_content_type_parameters": {"headers": [["content-type", "text/plain; charset=utf-8"]]},
    "headers_meta": {
        "headers": [["x-oss-meta-b", "2"], ["x-oss-meta-a-b", "3"], ["x-oss-meta-a", "1"], ["x-oss-meta-a.c", "4"]],
    },
    "headers_upper_case": {
        "headers": [["CONTENT-TYPE", "Text/Plain"], ["X-OSS-Meta-Author", "Alice"], ["X-Oss-Object-ACL", "private"]],
    },
    "headers_inner_blanks": {
        "headers": [["x-oss-meta-title", "two  blanks and\ta tab"], ["content-type", "a/b;  c=d"]]
    },
    "headers_empty_value": {"headers": [["x-oss-meta-empty", ""], ["x-oss-meta-full", "1"]]},
    "headers_utf8_value": {"headers": [["x-oss-meta-title", "学习 é"]]},
    "headers_not_signed": {
        "headers": [
            ["User-Agent", "x"],
            ["Cache-Control", "no-cache"],
            ["Range", "bytes=0-9"],
            ["Host", HOST],
            ["x-other", "1"],
        ],
    },
    "headers_many": STS
    | {
        "headers": [
            ["x-oss-forbid-overwrite", "true"],
            ["x-oss-tagging", "a=1&b=%2B"],
            ["content-type", "video/mp4"],
            ["content-length", "12"],
            ["x-oss-storage-class", "Standard"],
            ["content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="],
        ],
    },
    "additional_host": {"headers": [["host", HOST]], "additional_headers": ["host"]},
    "additional_three": {
        "headers": [
            ["Host", HOST],
            ["Content-Length", "300"],
            ["Content-Disposition", 'attachment; filename="a b.txt"'],
        ],
        "additional_headers": ["host", "content-length", "content-disposition"],
    },
    "additional_upper_case": {
        "headers": [["host", HOST], ["content-length", "0"]],
        "additional_headers": ["Host", "CONTENT-LENGTH"],
    },
    "additional_names_signed_anyway": {
        "headers": [["host", HOST], ["content-type", "a/b"], ["x-oss-meta-a", "1"]],
        "additional_headers": ["content-type", "x-oss-meta-a", "x-oss-date", "host", "content-md5"],
    },
    "additional_only_names_signed_anyway": {
        "headers": [["content-type", "a/b"]],
        "additional_headers": ["Content-Type", "x-oss-date"],
    },
    "sdk_unit_test": THEIR_PUT
    | {
        "time": "20231216T162057Z",
        "published": "e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe",
    },
    "sdk_unit_test_token": THEIR_PUT
    | {
        "time": "20231217T034736Z",
        "security_token": "token",
        "published": "b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea",
    },
    "sdk_unit_test_additional": THEIR_PUT
    | {
        "time": "20231216T172512Z",
        "additional_headers": ["ZAbc", "abc"],
        "published": "4a4183c187c07c8947db7620deb0a6b38d9fbdd34187b6dbaccb316fa251212f",
    },
}

GET = {"method": "GET", "expires": 3600}
PUT = {"method": "PUT", "expires": 600}
QUERY = {
    "get": GET,
    "put": PUT,
    "get_sts": GET | STS,
    "put_sts": PUT | STS,
    "head": GET | {"method": "HEAD"},
    "post_uploads": PUT | {"method": "POST", "query": [["uploads", None]]},
    "seven_days": GET | {"expires": 604800},
    "midnight": GET | {"time": "20270101T000000Z"},
    **{f"get_key_{name}": GET | {"key": KEYS[name]} for name in URL_KEYS},
    "put_sts_cjk_name": PUT | STS | {"key": "u1/第 1+1 章.pdf", "headers": [["Content-Type", "application/pdf"]]},
    "put_content_type_md5_meta": PUT
    | {
        "headers": [
            ["Content-Type", "text/plain"],
            ["Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="],
            ["X-Oss-Meta-A", "1  2"],
        ]
    },
    "put_headers_not_signed": PUT | {"headers": [["user-agent", "x"], ["host", HOST]]},
    "put_part": PUT | STS | {"query": PART[::-1]},
    "get_response_headers": GET
    | {
        "query": [
            ["response-content-disposition", "attachment; filename*=UTF-8''%E5%AD%A6+1.txt"],
            ["response-content-type", "text/plain; charset=utf-8"],
        ],
    },
    "get_sorts_around_ours": GET
    | STS
    | {
        "query": [
            ["z", "1"],
            ["x-oss-traffic-limit", "819200"],
            ["x-oss-process", "image/resize,w_1"],
            ["x-a", None],
            ["a", "2"],
        ]
    },
    "get_names_to_encode": GET | {"query": [["c/d", None], ["a b", "1+1"], ["e🙂", "值"]]},
    "get_additional_host": GET | {"headers": [["host", HOST]], "additional_headers": ["host"]},
    "put_additional_two": PUT
    | STS
    | {
        "headers": [["Host", HOST], ["Content-Disposition", "inline"], ["content-type", "a/b"]],
        "additional_headers": ["Host", "content-disposition", "Content-Type"],
    },
    "sdk_unit_test": THEIR_URL
    | {
        "time": "20231217T025437Z",
        "published": "a39966c61718be0d5b14e668088b3fa07601033f6518ac7b523100014269c0fe",
    },
    "sdk_unit_test_token": THEIR_URL
    | {
        "time": "20231217T035628Z",
        "security_token": "token",
        "published": "3817ac9d206cd6dfc90f1c09c00be45005602e55898f26f5ddb06d7892e1f8b5",
    },
    "sdk_unit_test_additional": THEIR_URL
    | {
        "time": "20231217T033009Z",
        "additional_headers": ["ZAbc", "abc"],
        "published": "6bd984bfe531afb6db1f7550983a741b103a8c58e5e14f83ea474c2322dfa2b7",
    },
}


def policy_text(*more, key_id="example-key-id", region="ap-southeast-1", time="20260922T041335Z", **layout):
    conditions = [
        {"bucket": "example-bucket"},
        {"x-oss-signature-version": "OSS4-HMAC-SHA256"},
        {"x-oss-credential": f"{key_id}/{time[:8]}/{region}/oss/aliyun_v4_request"},
        {"x-oss-date": time},
        *more,
    ]
    expiration = (moment(time) + datetime.timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    layout = {"separators": (",", ":"), "ensure_ascii": False} | layout
    return json.dumps({"expiration": expiration, "conditions": conditions}, **layout)


MIDNIGHT = {"time": "20270101T000000Z", "region": "cn-hangzhou"}
POLICY = {
    "plain": {"policy": policy_text()},
    "key_and_size": {"policy": policy_text({"key": "u1/report.txt"}, ["content-length-range", 0, 10485760])},
    "sts": STS
    | {
        "policy": policy_text(
            {"x-oss-security-token": TOKEN}, ["eq", "$Content-Type", "image/png"], key_id=STS["access_key_id"]
        )
    },
    "cjk": {"policy": policy_text({"key": "u1/学习 🙂.pdf"})},
    "blanks": {"policy": policy_text(separators=(", ", ": "))},
    "indented": {"policy": policy_text(indent=2, separators=(",", ": ")) + "\n"},
    "padding_one": {"policy": policy_text({"key": "padded0"})},
    "padding_two": {"policy": policy_text({"key": "padded01"})},
    "base64_signs": {"policy": policy_text({"key": "???>>>~~~ÿÿÿ"})},
    "midnight_cn_hangzhou": MIDNIGHT | {"policy": policy_text(**MIDNIGHT)},
}

# Group, inputs, and the differences between the SDKs.
DISPUTED = {
    "query_empty_value": (
        "header",
        {"method": "GET", "query": [["a", ""], ["b", "1"]]},
        "an empty value: `a` for the Python SDKs, `a=` for ali-oss (whose own sub-resources turn it into `a`)",
    ),
    "query_empty_value_in_url": ("query", GET | {"query": [["response-expires", ""]]}, "an empty value, as above"),
    "query_upper_and_lower_case": (
        "header",
        {"method": "GET", "query": [["a", "1"], ["B", "2"]]},
        "order of names: bytes for the Python SDKs, the locale's alphabet for ali-oss",
    ),
    "query_underscore_and_hyphen": (
        "header",
        {"method": "GET", "query": [["a-b", "1"], ["a_b", "2"]]},
        "order of names, as above",
    ),
    "query_letter_and_cjk": (
        "header",
        {"method": "GET", "query": [["ab", "1"], ["a名", "2"]]},
        "order of names: encoded for the Python SDKs, raw and by locale for ali-oss",
    ),
    "query_cjk_in_url": ("query", GET | {"query": [["名", "1"]]}, "order of names, as above; always so in a URL"),
    "headers_outer_blanks": (
        "header",
        {"headers": [["x-oss-meta-a", "  1 "], ["content-type", "\ta/b "]]},
        "blanks around a value: kept by the Python SDKs, cut off by ali-oss",
    ),
    "headers_outer_blanks_in_url": (
        "query",
        PUT | {"headers": [["x-oss-meta-a", " 1"]]},
        "blanks around a value, as above",
    ),
    "additional_not_among_headers": (
        "header",
        {"additional_headers": ["host"]},
        "an additional header that the request lacks: left out, listed without a value, or refused",
    ),
    "additional_not_among_headers_in_url": (
        "query",
        GET | {"additional_headers": ["host"]},
        "an additional header that the request lacks: left out by the Python SDKs, refused by ali-oss",
    ),
    "additional_named_twice": (
        "header",
        {"headers": [["host", HOST]], "additional_headers": ["host", "Host"]},
        "an additional header named twice: oss2 lists it twice",
    ),
    "additional_with_empty_value": (
        "header",
        {"headers": [["content-disposition", ""]], "additional_headers": ["content-disposition"]},
        "an additional header with an empty value: alibabacloud-oss-v2 leaves it out",
    ),
    "policy_not_compact": (
        "policy",
        {"policy": policy_text(separators=(", ", ": "))},
        "ali-oss's signPostObjectPolicyV4 parses the text and signs its own compact form of it",
    ),
}


def build(group, name, given):
    """The inputs of one case, in the order of the file."""
    fields = copy.deepcopy(COMMON | given)
    fields.pop("published", None)
    if group == "policy":
        for field in ("method", "key", "query", "headers", "additional_headers"):
            del fields[field]
        fields["policy_base64"] = base64.b64encode(fields.pop("policy").encode()).decode()
    return {"name": name} | fields


def scope(vector):
    return f"{vector['time'][:8]}/{vector['region']}/oss/aliyun_v4_request"


def url_parameters(url):
    pairs = [pair.partition("=") for pair in urlsplit(url).query.split("&")]
    return [[unquote(name), unquote(value)] for name, _, value in pairs]


class RecordingV2(SignerV4):
    def _calc_canonical_request(self, *given, **named):
        self.canonical_request = super()._calc_canonical_request(*given, **named)
        return self.canonical_request


def sign_v2(group, vector):
    signer = RecordingV2()
    if group == "policy":
        signature = signer._calc_signature(
            access_key_secrect=vector["access_key_secret"],
            date=vector["time"][:8],
            region=vector["region"],
            product="oss",
            string_to_sign=vector["policy_base64"],
        )
        return {"signature": signature}
    # The URL as the client of the SDK builds it.
    url = f"https://{vector['bucket']}.oss-{vector['region']}.aliyuncs.com/{quote(vector['key'])}"
    if vector["query"]:
        url += "?" + urlencode([(name, value or "") for name, value in vector["query"]], quote_via=quote)
    provider = oss_v2.credentials.StaticCredentialsProvider(
        vector["access_key_id"], vector["access_key_secret"], vector["security_token"]
    )
    context = SigningContext(
        product="oss",
        region=vector["region"],
        bucket=vector["bucket"],
        key=vector["key"],
        request=HttpRequest(vector["method"], url, headers=dict(vector["headers"])),
        credentials=provider.get_credentials(),
        signing_time=moment(vector["time"]),
        additional_headers=set(vector["additional_headers"]),
    )
    if group == "query":
        context.auth_method_query = True
        context.expiration_time = context.signing_time + datetime.timedelta(seconds=vector["expires"])
    signer.sign(context)
    result = {"canonical_request": signer.canonical_request, "string_to_sign": context.string_to_sign}
    if group == "query":
        parameters = url_parameters(context.request.url)
        return result | {"parameters": parameters, "signature": dict(parameters)["x-oss-signature"]}
    authorization = context.request.headers["Authorization"]
    return result | {"authorization": authorization, "signature": authorization.rpartition("=")[2]}


class RecordingOss2(oss2.ProviderAuthV4):
    def _ProviderAuthV4__get_canonical_request_bytes(self, *given):
        made = super()._ProviderAuthV4__get_canonical_request_bytes(*given)
        self.canonical_request = made.decode()
        return made

    def _ProviderAuthV4__get_string_to_sign_bytes(self, *given):
        self.string_to_sign = super()._ProviderAuthV4__get_string_to_sign_bytes(*given)
        return self.string_to_sign


def sign_oss2(group, vector):
    credentials = oss2.credentials.StaticCredentialsProvider(
        vector["access_key_id"], vector["access_key_secret"], vector["security_token"]
    )
    auth = RecordingOss2(credentials)
    oss2.auth.datetime = types.SimpleNamespace(utcnow=lambda: moment(vector["time"]).replace(tzinfo=None))
    place = {"region": vector["region"], "product": "oss"}
    if group == "policy":
        request = oss2.http.Request("POST", "https://localhost/", **place)
        key = auth._ProviderAuthV4__get_signing_key(request, credentials.get_credentials(), vector["time"])
        return {"signature": hmac.new(key, vector["policy_base64"].encode(), hashlib.sha256).hexdigest()}
    endpoint = f"https://oss-{vector['region']}.aliyuncs.com"
    params = {name: value or "" for name, value in vector["query"]}
    headers = oss2.CaseInsensitiveDict(dict(vector["headers"]))
    if group == "query":
        bucket = oss2.Bucket(auth, endpoint, vector["bucket"], region=vector["region"])
        url = bucket.sign_url(
            vector["method"], vector["key"], vector["expires"], headers=headers, params=params, slash_safe=True,
            additional_headers=vector["additional_headers"],
        )  # fmt: skip
        parameters = url_parameters(url)
        made = {"parameters": parameters, "signature": dict(parameters)["x-oss-signature"]}
    else:
        request = oss2.http.Request(vector["method"], endpoint, params=params, headers=headers, **place)
        auth._sign_request(request, vector["bucket"], vector["key"], in_additional_headers=vector["additional_headers"])
        authorization = request.headers["authorization"]
        fields = dict(field.split("=", 1) for field in authorization.partition(" ")[2].split(", "))
        made = {"authorization": authorization, "signature": fields["Signature"]}
    return {"canonical_request": auth.canonical_request, "string_to_sign": auth.string_to_sign} | made


def sign_ali(modules, cases):
    """Signs all cases in one process; the library sorts by locale, so the locale is fixed."""
    sent = [{"group": group, "vector": vector | {"policy": vector.get("policy_base64")}} for group, vector in cases]
    answer = subprocess.run(
        ["node", HERE / "make.mjs", modules],
        input=json.dumps(sent),
        env=os.environ | {"LC_ALL": "en_US.UTF-8", "TZ": "UTC"},
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        check=True,
    )
    answer = json.loads(answer.stdout)
    ensure(answer["version"] == PINNED["ali-oss"], f"ali-oss is {answer['version']}")
    return answer["results"]


def attempt(sign, group, vector):
    try:
        return sign(group, vector)
    except Exception as error:  # an error of an SDK is a result, too
        return {"error": str(error)}


def parts(authorization):
    """The fields of an Authorization header; the SDKs differ in order and spaces."""
    scheme, _, rest = authorization.partition(" ")
    fields = dict(field.strip().split("=", 1) for field in rest.split(","))
    fields["AdditionalHeaders"] = sorted(fields.get("AdditionalHeaders", "").split(";"))
    return scheme, fields


def essence(group, result):
    """The part of a result that must be equal for all SDKs."""
    if "error" in result:
        return result
    if group == "policy":
        return result["signature"]
    made = [result["canonical_request"], result["string_to_sign"], result["signature"]]
    return made + [parts(result["authorization"]) if group == "header" else sorted(result["parameters"])]


def ensure(condition, message):
    if not condition:
        sys.exit(f"make.py: {message}")


def compact_text(vector):
    """Whether ali-oss's signPostObjectPolicyV4 would write the policy in the same way."""
    text = base64.b64decode(vector["policy_base64"]).decode()
    return text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)


def expectation(group, vector, results):
    v2, ali = results[V2], results[ALI]
    if group == "policy":
        form = {
            "policy": vector["policy_base64"],
            "x-oss-signature-version": "OSS4-HMAC-SHA256",
            "x-oss-credential": f"{vector['access_key_id']}/{scope(vector)}",
            "x-oss-date": vector["time"],
            "x-oss-signature": v2["signature"],
        }
        if vector["security_token"] is not None:
            form["x-oss-security-token"] = vector["security_token"]
        if compact_text(vector):
            ensure(ali["signature_of_text"] == v2["signature"], f"{vector['name']}: ali-oss signs the text otherwise")
        return {"string_to_sign": vector["policy_base64"], "signature": v2["signature"], "form": form}
    made = {field: v2[field] for field in ("canonical_request", "string_to_sign", "signature")}
    if group == "header":
        ensure(v2["authorization"] == ali["authorization"], f"{vector['name']}: two forms of Authorization")
        return made | {"authorization": v2["authorization"]}
    canonical = v2["canonical_request"].split("\n")[2]
    named = url_parameters(f"?{canonical}")
    url_query = f"{canonical}&x-oss-signature={v2['signature']}"
    bare = {name for name, value in vector["query"] if value is None}
    parameters = [[name, None if name in bare else value] for name, value in named]
    return made | {"query_parameters": parameters + [["x-oss-signature", v2["signature"]]], "url_query": url_query}


def collect(modules):
    cases = [
        (group, name, given, None)
        for group, given_cases in (("header", HEADER), ("query", QUERY), ("policy", POLICY))
        for name, given in given_cases.items()
    ]
    cases += [(group, name, given, why) for name, (group, given, why) in DISPUTED.items()]
    vectors = [(group, build(group, name, given)) for group, name, given, _ in cases]
    made = {"about": ABOUT, "header": [], "query": [], "policy": [], "disputed": []}
    for (group, name, given, why), (_, vector), ali in zip(cases, vectors, sign_ali(modules, vectors), strict=True):
        results = {V2: attempt(sign_v2, group, vector), OSS2: attempt(sign_oss2, group, vector), ALI: ali}
        if group == "policy" and why is not None:
            ali["signature"] = ali["signature_of_text"]
        agreed = all(essence(group, result) == essence(group, results[V2]) for result in results.values())
        label = f"{group} {name}"
        if why is not None:
            ensure(not agreed, f"{label}: the SDKs agree, so it is no dispute: {results}")
            kept = ("error", "canonical_request", "signature")
            said = {sdk: {field: result[field] for field in kept if field in result} for sdk, result in results.items()}
            made["disputed"].append(
                {"name": vector.pop("name"), "group": group, "why": why} | vector | {"results": said}
            )
            continue
        ensure("error" not in results[V2] and agreed, f"{label}: the SDKs differ: {json.dumps(results, indent=1)}")
        ensure(
            given.get("published", results[V2]["signature"]) == results[V2]["signature"], f"{label}: not as published"
        )
        made[group].append(vector | {"expected": expectation(group, vector, results), "made_by": list(results)})
    return made


def render(made):
    """JSON with one field per line, so that a change is one line of a diff."""

    def line(value):
        return json.dumps(value, ensure_ascii=False)

    blocks = []
    for title, content in made.items():
        if title == "about":
            blocks.append(f' "about": {json.dumps(content, ensure_ascii=False, indent=1)}'.replace("\n", "\n "))
            continue
        vectors = []
        for vector in content:
            rows = []
            for field, value in vector.items():
                if field in ("expected", "results"):
                    inner = ",\n".join(f"    {line(name)}: {line(item)}" for name, item in value.items())
                    rows.append(f"   {line(field)}: {{\n{inner}\n   }}")
                else:
                    rows.append(f"   {line(field)}: {line(value)}")
            vectors.append("  {\n" + ",\n".join(rows) + "\n  }")
        blocks.append(f" {line(title)}: [\n" + ",\n".join(vectors) + "\n ]")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def main():
    ensure(len(sys.argv) == 2, "usage: make.py DIRECTORY, where DIRECTORY holds node_modules/ali-oss")
    for name in ("alibabacloud-oss-v2", "oss2"):
        version = importlib.metadata.version(name)
        ensure(version == PINNED[name], f"{name} is {version}, not {PINNED[name]}")
    made = collect(sys.argv[1])
    text = render(made)
    ensure(json.loads(text) == made, "the file would not read back as it was written")
    (HERE / "vectors.json").write_text(text, encoding="utf-8")
    print(", ".join(f"{len(made[group])} {group}" for group in ("header", "query", "policy", "disputed")))


if __name__ == "__main__":
    main()
