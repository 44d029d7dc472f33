//! Tests of the test support: forms, uploads, the fake's web host.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{Instant, timeout},
};

use crate::{
    fake_qwen::{Fake, Page},
    form::{Form, LargeUpload},
    http::{Raw, TIMEOUT, eventually},
    server::{Case, Server},
};

pub async fn generated_forms_match_curl(_: Arc<Case>) {
    let (content_type, body) = Form::new()
        .text("purpose", "user_data")
        .file("file", "a\"b\\c\r\n文.txt", Some("text/plain"), "content")
        .file("file", "bare", None, b"\0\r\n")
        .raw_part("content-disposition: form-data; name=odd\r\nx-y: z", "")
        .body();
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
    let expected = "--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n\
        --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22b\\c%0D%0A文.txt\"\r\nContent-Type: text/plain\r\n\r\ncontent\r\n\
        --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"bare\"\r\n\r\n\0\r\n\r\n\
        --B\r\ncontent-disposition: form-data; name=odd\r\nx-y: z\r\n\r\n\r\n\
        --B--\r\n";
    assert_eq!(String::from_utf8(body.to_vec()).unwrap(), expected.replace("--B", &format!("--{boundary}")));
}

/// Sends an upload to a socket that answers it; returns the request as received.
async fn received(upload: &LargeUpload) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let end: &[u8] = if upload.chunked { b"--\r\n\r\n0\r\n\r\n" } else { b"--\r\n" };
        while !request.ends_with(end) {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the request ends early");
        }
        let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        (request, stream)
    };
    let ((request, _), uploaded) =
        timeout(TIMEOUT, async { tokio::join!(server, upload.send_all(&address, "/x")) }).await.unwrap();
    assert_eq!(
        (uploaded.reply.status.as_u16(), uploaded.reply.text().as_str(), uploaded.bytes),
        (201, "hello", upload.length())
    );
    request
}

pub async fn generated_uploads_are_reproducible(_: Arc<Case>) {
    use sha2::{Digest as _, Sha256};

    let fields = |name: &str| vec![(name.to_owned(), "value".to_owned())];
    let upload = LargeUpload {
        head: vec![7; 100_000],
        fields_before: fields("before"),
        fields_after: fields("after"),
        content_type: Some("video/mp4".to_owned()),
        ..LargeUpload::new("huge.mp4", 1_000_001)
    };
    assert_eq!(upload.sha256(), upload.clone().sha256());
    assert_ne!(upload.sha256(), LargeUpload { seed: 2, ..upload.clone() }.sha256());

    let request = received(&upload).await;
    let find = |mark: &[u8]| memchr::memmem::find(&request, mark).unwrap();
    let body = find(b"\r\n\r\n") + 4;
    assert_eq!(request.len() - body, usize::try_from(upload.length()).unwrap());
    let start = find(b"Content-Type: video/mp4\r\n\r\n") + 27;
    let content = &request[start..start + 1_000_001];
    let digest: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, upload.sha256());
    assert!(
        content[..100_000].iter().all(|byte| *byte == 7) && content[100_000..100_100].iter().any(|byte| *byte != 7)
    );
    let blocks: Vec<_> = content[131_072..].chunks_exact(65_536).collect();
    assert!(blocks.iter().enumerate().all(|(index, block)| !blocks[..index].contains(block)));
    assert!(find(b"name=\"before\"") < start && find(b"name=\"after\"") > start + content.len());

    let request = received(&LargeUpload { chunked: true, ..upload.clone() }).await;
    let text = String::from_utf8_lossy(&request[..2000]);
    assert!(text.contains("transfer-encoding: chunked") && !text.contains("content-length"), "{text}");

    let started = Instant::now();
    received(&LargeUpload { bytes_per_second: Some(1_000_000), ..upload }).await;
    // The last chunk is due after 0.95 s. There is no upper bound: a loaded machine takes longer.
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
}

/// Requests a page and reads until the connection closes.
async fn raw_page(fake: &Fake, path: &str) -> String {
    let address = fake.url().replace("http://", "");
    let mut client = Raw::connect(&address).await;
    let request = format!("GET /web/{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    client.0.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A truncated body may end with an error.
    let _ = timeout(TIMEOUT, client.0.read_to_end(&mut answer)).await.expect("the response does not end");
    String::from_utf8(answer).unwrap()
}

pub async fn fake_pages_behave_as_configured(_: Arc<Case>) {
    let fake = Fake::start();
    let png = Page::new("image/png", "0123456789");
    for (name, page) in [
        ("whole.png", png.clone().filename("猫.png")),
        ("chunked", png.clone().chunked(4)),
        ("bare", Page::new("", "x")),
        ("missing", Page::html(404, "Not Found")),
        ("moved", Page::redirect(307, "../else where?#ü")),
        ("chain", Page::chain(3, "whole.png")),
        ("loop", Page::redirect_loop()),
        ("cut", png.clone().cut_after(4)),
        ("cut-chunks", png.clone().chunked(2).cut_after(4)),
        ("lies", png.clone().with_content_length(99)),
        ("late", png.clone().delayed_by(Duration::from_millis(300))),
        ("stalled", png.stalled_after(4)),
        ("endless", Page::endless("video/mp4", vec![b'x'; 10_000])),
        ("dripping", Page::endless("video/mp4", "drop").paced(Duration::from_millis(20))),
    ] {
        fake.serve_page(name, page);
    }
    for (path, contained, absent) in [
        (
            "whole.png?x=1",
            &["200 OK", "type: image/png", "length: 10", "name=\"猫.png\"", "\r\n\r\n0123456789"][..],
            "cookie",
        ),
        ("chunked", &["chunked", "4\r\n0123\r\n4\r\n4567\r\n2\r\n89\r\n0\r\n\r\n"], "length"),
        ("bare", &["200 OK", "\r\n\r\nx"], "content-type"),
        ("missing", &["404 Not Found", "text/html", "<title>"], "location"),
        ("moved", &["307 Temporary", "location: ../else where?#ü\r\n"], "hop"),
        ("chain", &["302 Found", "location: /web/chain?hop=2\r\n"], "whole"),
        ("chain?hop=2", &["302 Found", "location: /web/chain?hop=3\r\n"], "whole"),
        ("chain?hop=3", &["302 Found", "location: whole.png\r\n"], "hop"),
        ("loop?hop=70", &["302 Found", "location: /web/loop?hop=71\r\n"], "whole"),
        ("cut", &["length: 10", "\r\n\r\n0123"], "01234"),
        ("cut-chunks", &["chunked", "2\r\n01\r\n2\r\n23\r\n"], "\r\n0\r\n"),
        ("lies", &["length: 99", "\r\n\r\n0123456789"], "chunked"),
        ("nowhere", &["404 Not Found"], "location"),
    ] {
        let answer = raw_page(&fake, path).await;
        assert!(contained.iter().all(|text| answer.contains(text)) && !answer.contains(absent), "{path}: {answer}");
        let name = path.split('?').next().unwrap();
        assert!(fake.web_hits(name) > 0, "{path}");
    }
    assert_eq!((fake.web_hits("chain"), fake.web_hits("whole.png"), fake.web_hits("late")), (3, 1, 0));
    let started = Instant::now();
    raw_page(&fake, "late").await;
    // Only a lower bound: a loaded machine takes longer.
    assert!(started.elapsed() >= Duration::from_millis(300));

    let address = fake.url().replace("http://", "");
    for (name, mark) in [("stalled", "0123"), ("endless", &"x".repeat(5000)), ("dripping", "p\r\n4\r\nd")] {
        let mut client = Raw::connect(&address).await;
        let request = format!("GET /web/{name} HTTP/1.1\r\nHost: x\r\nCookie: token=t\r\n\r\n");
        client.0.write_all(request.as_bytes()).await.unwrap();
        client.read_until(mark).await;
        assert_eq!(fake.web_open(name), 1, "{name}");
        client.reset();
        eventually(name, || async { fake.web_open(name) == 0 }).await;
        let cookie = ("cookie".to_owned(), "token=t".to_owned());
        assert_eq!(fake.web_credentials(name), std::slice::from_ref(&cookie));
        assert!(fake.web_request_headers(name).contains(&cookie));
    }
    assert!(fake.web_credentials("whole.png").is_empty());
}

pub async fn rejected_uploads_are_answered_while_they_are_sent(case: Arc<Case>) {
    let server = case.server().await;
    let address = server.http.address();
    let (content_type, body) = Form::new().file("file", "big.bin", None, vec![7; 5_000_000]).body();
    let headers = [Server::auth_headers()[0], ("content-type", content_type.as_str())];
    server.http.send("POST", "/", &headers, body).await.error(405, "method_not_allowed");
    for chunked in [false, true] {
        let upload = LargeUpload { chunked, ..LargeUpload::new("big.bin", 5_000_000) };
        let uploaded = upload.send_all(address, "/").await;
        uploaded.reply.error(405, "method_not_allowed");
        assert!(uploaded.bytes <= upload.length());
        upload.send_some(address, "/", 100_000).await.reset();
        // At this rate the whole body takes minutes.
        let slow = LargeUpload { bytes_per_second: Some(20_000), ..upload };
        let uploaded = slow.send_all(address, "/").await;
        uploaded.reply.error(405, "method_not_allowed");
        assert!(uploaded.bytes < slow.length(), "the response waited for the body");
    }
    assert_eq!(server.get("/health").await.status, 200);
}
