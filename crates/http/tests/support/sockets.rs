//! A client of `WebSocket`s.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{PATIENCE, Served};

/// A socket that is open.
pub struct Socket {
    pub stream: WebSocketStream<TcpStream>,
    /// What came while something else was waited for.
    early: Vec<Value>,
}

impl Socket {
    pub async fn open(served: &Served) -> Socket {
        Socket::open_with(served, &[]).await.unwrap()
    }

    /// Opens one with headers of its own.
    pub async fn open_with(
        served: &Served,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, Error> {
        let mut request = "ws://localhost/v1/ws".into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (stream, _) = client_async(request, served.raw().await).await?;
        Ok(Socket {
            stream,
            early: Vec::new(),
        })
    }

    pub async fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// The next frame, whatever it is.
    pub async fn next(&mut self) -> Value {
        if !self.early.is_empty() {
            return self.early.remove(0);
        }
        self.read().await
    }

    async fn read(&mut self) -> Value {
        let reading = async {
            loop {
                let message = self.stream.next().await.expect("the socket stays open");
                match message.expect("the socket is whole") {
                    Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                    Message::Ping(_) | Message::Pong(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        let read = timeout(PATIENCE, reading).await;
        read.expect("something comes in time")
    }

    /// Sends a request, and waits for the answer to it.
    pub async fn ask(&mut self, mut frame: Value) -> Value {
        let id = json!(frame["type"].as_str().unwrap().to_owned() + " this");
        frame["id"] = id.clone();
        self.send(&frame).await;
        loop {
            let came = self.read().await;
            if came["id"] == id {
                return came;
            }
            self.early.push(came);
        }
    }

    /// The same for one that is to be refused: gives what it is told.
    pub async fn refused(&mut self, frame: Value, code: &str) -> String {
        let answer = self.ask(frame).await;
        assert_eq!(answer["type"], "error", "{answer}");
        let problem = &answer["problem"];
        assert_eq!(problem["code"], code, "{answer}");
        problem["detail"].as_str().unwrap().to_owned()
    }

    /// Publishes values to a topic, and waits until that is acknowledged.
    pub async fn publish(&mut self, topic: &str, values: &[&str]) {
        let records: Vec<Value> = values
            .iter()
            .map(|value| json!({ "value": value }))
            .collect();
        let frame = json!({"type": "publish", "topic": topic, "records": records});
        let answer = self.ask(frame).await;
        assert_eq!(answer["type"], "published", "{answer}");
    }

    /// The next frame, which has to be of that type and for that subscription.
    pub async fn event(&mut self, kind: &str, subscription: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        assert_eq!(frame["subscription"], subscription, "{frame}");
        frame
    }

    /// The values of the next records of a subscription.
    pub async fn values(&mut self, subscription: &str, count: usize) -> Vec<String> {
        let mut values = Vec::new();
        for _ in 0..count {
            let frame = self.event("record", subscription).await;
            values.push(frame["record"]["value"].as_str().unwrap().to_owned());
        }
        values
    }

    /// The next messages of a queue.
    pub async fn messages(&mut self, subscription: &str, count: usize) -> Vec<Value> {
        let mut messages = Vec::new();
        for _ in 0..count {
            let mut frame = self.event("message", subscription).await;
            messages.push(frame["message"].take());
        }
        messages
    }

    /// Checks that nothing comes for a while.
    pub async fn silence(&mut self) {
        self.silence_for(Duration::from_millis(150)).await;
    }

    /// Checks that nothing comes for so long.
    pub async fn silence_for(&mut self, wait: Duration) {
        assert!(self.early.is_empty(), "{:?}", self.early);
        if let Ok(frame) = timeout(wait, self.read()).await {
            panic!("{frame}");
        }
    }

    /// Waits for the server's farewell.
    pub async fn farewell(&mut self) -> Option<CloseCode> {
        loop {
            let message = timeout(PATIENCE, self.stream.next())
                .await
                .expect("the server says goodbye");
            match message {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

/// The receipts of messages.
pub fn receipts(messages: &[Value]) -> Vec<Value> {
    messages
        .iter()
        .map(|message| message["receipt"].clone())
        .collect()
}
