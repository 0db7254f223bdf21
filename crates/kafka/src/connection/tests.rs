//! The reader of frames over a real socket.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

use super::budget::FrameBudget;
use super::frames::{Frame, FrameReader, ReadError};
use super::refusal::Refusal;

const METADATA_KEY: u8 = 3;
const PRODUCE_KEY: u8 = 0;

async fn pair() -> (TcpStream, OwnedReadHalf) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (read, write) = server.into_split();
    write.forget();
    (client, read)
}

fn reader() -> FrameReader {
    FrameReader::new(FrameBudget::new(64 << 20), Duration::from_secs(60))
}

/// A frame whose body is told by its size and `fill`.
fn frame(api_key: u8, size: usize, fill: u8) -> Vec<u8> {
    let mut bytes = (size as i32).to_be_bytes().to_vec();
    bytes.extend([0, api_key]);
    bytes.resize(4 + size, fill);
    bytes
}

async fn read_until(
    reader: &mut FrameReader,
    socket: &mut OwnedReadHalf,
    count: usize,
) -> Vec<Frame> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let mut more = Vec::new();
        reader.read(socket, &mut more).await.unwrap();
        frames.append(&mut more);
    }
    frames
}

#[tokio::test]
async fn small_frames_of_one_write_come_together() {
    let (mut client, mut socket) = pair().await;
    let sent: Vec<u8> = (0..10)
        .flat_map(|fill| frame(METADATA_KEY, 100, fill))
        .collect();
    client.write_all(&sent).await.unwrap();
    let mut frames = Vec::new();
    reader().read(&mut socket, &mut frames).await.unwrap();
    assert_eq!(frames.len(), 10);
    for (fill, frame) in (0..10).zip(&frames) {
        assert_eq!((frame.bytes.len(), frame.bytes[99]), (100, fill));
    }
}

#[tokio::test]
async fn frames_of_every_size_arrive_whole_and_in_order() {
    let (mut client, mut socket) = pair().await;
    let sizes = [
        8,
        70_000,
        300_000,
        9,
        2_000_000,
        300_001,
        20_000_000,
        10,
        256 << 10,
        (256 << 10) - 4,
    ];
    let sending = tokio::spawn(async move {
        for (fill, size) in (0..).zip(sizes) {
            client
                .write_all(&frame(PRODUCE_KEY, size, fill))
                .await
                .unwrap();
        }
        client
    });
    let frames = read_until(&mut reader(), &mut socket, sizes.len()).await;
    for ((fill, size), frame) in (0..).zip(sizes).zip(&frames) {
        assert_eq!(frame.bytes.len(), size);
        assert!(
            frame.bytes[2..].iter().all(|&byte| byte == fill),
            "frame {fill}"
        );
        assert_eq!(frame.room.is_some(), size + 4 > 256 << 10, "frame {fill}");
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn a_frame_that_arrives_byte_by_byte_is_put_together() {
    let (mut client, mut socket) = pair().await;
    client.set_nodelay(true).unwrap();
    let sending = tokio::spawn(async move {
        for byte in frame(METADATA_KEY, 20, 7) {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client
    });
    let frames = read_until(&mut reader(), &mut socket, 1).await;
    assert_eq!(frames[0].bytes.len(), 20);
    sending.await.unwrap();
}

#[tokio::test]
async fn a_large_frame_waits_for_its_share_of_the_budget() {
    let (mut client, mut socket) = pair().await;
    let budget = FrameBudget::new(1 << 20);
    let mut held = None;
    budget.claim(&mut held, 1 << 20).await;
    let mut reader = FrameReader::new(budget, Duration::from_secs(60));
    let sending = tokio::spawn(async move {
        client
            .write_all(&frame(PRODUCE_KEY, 1 << 19, 1))
            .await
            .unwrap();
        client
    });
    let mut frames = Vec::new();
    let waiting = tokio::time::timeout(
        Duration::from_millis(50),
        reader.read(&mut socket, &mut frames),
    )
    .await;
    assert!(waiting.is_err());
    drop(held);
    reader.read(&mut socket, &mut frames).await.unwrap();
    assert_eq!(frames[0].bytes.len(), 1 << 19);
    sending.await.unwrap();
}

#[tokio::test]
async fn a_frame_that_is_only_announced_claims_next_to_nothing() {
    let (mut client, mut socket) = pair().await;
    let budget = FrameBudget::new(1 << 20);
    let mut reader = FrameReader::new(budget.clone(), Duration::from_secs(60));
    let announced = &frame(PRODUCE_KEY, 50 << 20, 1)[..300];
    client.write_all(announced).await.unwrap();
    let mut frames = Vec::new();
    let waiting = Duration::from_millis(50);
    let reading = tokio::time::timeout(waiting, reader.read(&mut socket, &mut frames)).await;
    assert!(reading.is_err());
    let mut others = None;
    let claiming = tokio::time::timeout(waiting, budget.claim(&mut others, 700 << 10)).await;
    assert!(claiming.is_ok(), "others find no room");
}

#[tokio::test]
async fn lengths_that_cannot_be_are_refused() {
    for (bytes, first) in [
        (i32::MAX.to_be_bytes(), true),
        ((-1_i32).to_be_bytes(), true),
        (7_i32.to_be_bytes(), true),
        (*b"GET ", true),
        (i32::MAX.to_be_bytes(), false),
    ] {
        let (mut client, mut socket) = pair().await;
        let mut reader = reader();
        let mut frames = Vec::new();
        if !first {
            client.write_all(&frame(METADATA_KEY, 8, 0)).await.unwrap();
            reader.read(&mut socket, &mut frames).await.unwrap();
            frames.clear();
        }
        client.write_all(&bytes).await.unwrap();
        let end = reader.read(&mut socket, &mut frames).await.unwrap_err();
        match end {
            ReadError::Refused(Refusal::Length(_)) => assert!(!first),
            ReadError::Refused(_) => assert!(first),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_end_between_frames_differs_from_one_inside() {
    let (mut client, mut socket) = pair().await;
    client.shutdown().await.unwrap();
    let end = reader()
        .read(&mut socket, &mut Vec::new())
        .await
        .unwrap_err();
    assert!(matches!(end, ReadError::Closed), "{end:?}");

    let (mut client, mut socket) = pair().await;
    client
        .write_all(&frame(METADATA_KEY, 20, 1)[..10])
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    let end = reader()
        .read(&mut socket, &mut Vec::new())
        .await
        .unwrap_err();
    assert!(matches!(end, ReadError::Io(_)), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_begun_and_not_finished_ends_the_connection() {
    let (mut client, mut socket) = pair().await;
    client
        .write_all(&frame(METADATA_KEY, 20, 1)[..10])
        .await
        .unwrap();
    let end = reader()
        .read(&mut socket, &mut Vec::new())
        .await
        .unwrap_err();
    assert!(matches!(end, ReadError::Stalled), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_as_idleness() {
    let (_client, mut socket) = pair().await;
    let end = reader()
        .read(&mut socket, &mut Vec::new())
        .await
        .unwrap_err();
    assert!(matches!(end, ReadError::Idle), "{end:?}");
}

#[test]
fn an_idle_connection_is_small() {
    fn future_bytes<A, B, C, D, F>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }
    let bytes = future_bytes(super::serve);
    assert!(bytes < 6 << 10, "{bytes} bytes for each connection");
}
