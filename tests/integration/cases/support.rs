//! What other cases lean on: forms, uploads, the fake's web host.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{Instant, timeout},
};

use crate::{
    fake_qwen::{Fake, Page},
    form::{Form, Huge},
    http::{PATIENCE, Raw},
    server::{Case, Server},
};

pub async fn forms_are_as_curl_makes_them(_: Arc<Case>) {
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

/// Sends an upload to a socket that only answers; gives the request as it arrived.
async fn delivered(huge: &Huge) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let end: &[u8] = if huge.chunked { b"--\r\n\r\n0\r\n\r\n" } else { b"--\r\n" };
        while !request.ends_with(end) {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0, "it ended early");
        }
        let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        (request, stream)
    };
    let ((request, _), sent) =
        timeout(PATIENCE, async { tokio::join!(server, huge.send_all(&address, "/x")) }).await.unwrap();
    assert_eq!((sent.reply.status.as_u16(), sent.reply.text().as_str(), sent.bytes), (201, "hello", huge.length()));
    request
}

pub async fn huge_contents_are_the_same_each_time(_: Arc<Case>) {
    use sha2::{Digest as _, Sha256};

    let fields = |name: &str| vec![(name.to_owned(), "value".to_owned())];
    let huge = Huge {
        head: vec![7; 100_000],
        fields_before: fields("before"),
        fields_after: fields("after"),
        content_type: Some("video/mp4".to_owned()),
        ..Huge::new("huge.mp4", 1_000_001)
    };
    assert_eq!(huge.sha256(), huge.clone().sha256());
    assert_ne!(huge.sha256(), Huge { seed: 2, ..huge.clone() }.sha256());

    let request = delivered(&huge).await;
    let at = |mark: &[u8]| memchr::memmem::find(&request, mark).unwrap();
    let body = at(b"\r\n\r\n") + 4;
    assert_eq!(request.len() - body, usize::try_from(huge.length()).unwrap());
    let start = at(b"Content-Type: video/mp4\r\n\r\n") + 27;
    let content = &request[start..start + 1_000_001];
    let digest: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, huge.sha256());
    assert!(
        content[..100_000].iter().all(|byte| *byte == 7) && content[100_000..100_100].iter().any(|byte| *byte != 7)
    );
    let blocks: Vec<_> = content[131_072..].chunks_exact(65_536).collect();
    assert!(blocks.iter().enumerate().all(|(index, block)| !blocks[..index].contains(block)));
    assert!(at(b"name=\"before\"") < start && at(b"name=\"after\"") > start + content.len());

    let request = delivered(&Huge { chunked: true, ..huge.clone() }).await;
    let text = String::from_utf8_lossy(&request[..2000]);
    assert!(text.contains("transfer-encoding: chunked") && !text.contains("content-length"), "{text}");

    let started = Instant::now();
    delivered(&Huge { bytes_per_second: Some(1_000_000), ..huge }).await;
    assert!((900..5000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

/// Asks for a page and reads until the connection ends.
async fn page(fake: &Fake, path: &str) -> String {
    let address = fake.url().replace("http://", "");
    let mut client = Raw::connect(&address).await;
    let request = format!("GET /web/{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    client.0.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A body that is cut may end with an error.
    let _ = timeout(PATIENCE, client.0.read_to_end(&mut answer)).await.expect("no end");
    String::from_utf8(answer).unwrap()
}

pub async fn pages_are_what_they_say(_: Arc<Case>) {
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
        ("lies", png.clone().announcing(99)),
        ("late", png.clone().late(Duration::from_millis(300))),
        ("stalled", png.stalled_after(4)),
        ("endless", Page::endless("video/mp4", vec![b'x'; 10_000])),
        ("dripping", Page::endless("video/mp4", "drop").paced(Duration::from_millis(20))),
    ] {
        fake.web(name, page);
    }
    for (path, has, has_not) in [
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
        let answer = page(&fake, path).await;
        assert!(has.iter().all(|text| answer.contains(text)) && !answer.contains(has_not), "{path}: {answer}");
        let name = path.split('?').next().unwrap();
        assert!(fake.web_hits(name) > 0, "{path}");
    }
    assert_eq!((fake.web_hits("chain"), fake.web_hits("whole.png"), fake.web_hits("late")), (3, 1, 0));
    let started = Instant::now();
    page(&fake, "late").await;
    assert!(started.elapsed() >= Duration::from_millis(300));

    let address = fake.url().replace("http://", "");
    for (name, mark) in [("stalled", "0123"), ("endless", &"x".repeat(5000)), ("dripping", "p\r\n4\r\nd")] {
        let mut client = Raw::connect(&address).await;
        let request = format!("GET /web/{name} HTTP/1.1\r\nHost: x\r\nCookie: token=t\r\n\r\n");
        client.0.write_all(request.as_bytes()).await.unwrap();
        client.read_until(mark).await;
        assert_eq!(fake.web_open(name), 1, "{name}");
        client.reset();
        for _ in 0..400 {
            if fake.web_open(name) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(fake.web_open(name), 0, "{name}");
        let cookie = ("cookie".to_owned(), "token=t".to_owned());
        assert_eq!(fake.web_credentials(name), std::slice::from_ref(&cookie));
        assert!(fake.web_request_headers(name).contains(&cookie));
    }
    assert!(fake.web_credentials("whole.png").is_empty());
}

pub async fn refused_uploads_are_answered_while_they_are_sent(case: Arc<Case>) {
    let server = case.server().await;
    let address = server.http.address();
    let (content_type, body) = Form::new().file("file", "big.bin", None, vec![7; 5_000_000]).body();
    let headers = [Server::keyed()[0], ("content-type", content_type.as_str())];
    server.http.send("POST", "/", &headers, body).await.error(405, "method_not_allowed");
    for chunked in [false, true] {
        let huge = Huge { chunked, ..Huge::new("big.bin", 5_000_000) };
        let sent = huge.send_all(address, "/").await;
        sent.reply.error(405, "method_not_allowed");
        assert!(sent.bytes <= huge.length());
        huge.send_some(address, "/", 100_000).await.reset();
        // At such a pace the whole body takes minutes.
        let slow = Huge { bytes_per_second: Some(20_000), ..huge };
        let sent = slow.send_all(address, "/").await;
        sent.reply.error(405, "method_not_allowed");
        assert!(sent.bytes < slow.length(), "the answer waits for the body");
    }
    assert_eq!(server.get("/health").await.status, 200);
}
