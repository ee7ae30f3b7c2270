//! The REST side: what a client needs around a gateway connection, and the answers to interactions.
//!
//! | call | reply |
//! |---|---|
//! | `GET /gateway`, `GET /gateway/bot` | the address; recommended shards and session start limit |
//! | `GET /users/@me`, `GET /applications/@me`, `GET /oauth2/applications/@me` | the bot |
//! | `GET`, `PUT`, `POST` on an application's commands | an empty list; the command sent in |
//! | `POST /interactions/{id}/{token}/callback` | 204, or 200 `with_response=true`: recorded as the answer |
//! | `POST`, `GET`, `PATCH`, `DELETE` on `/webhooks/{application}/{token}` | recorded as follow-ups |
//! | `GET /ledger`, `GET /ledger/interactions` | the ground truth; not part of Discord |
//!
//! The first answer to an interaction wins. An unknown id, a wrong token or an answer after 3 s gets 404
//! with code 10062, a second answer 400 with code 40060, a follow-up without an answer 404 with code
//! 10015. Anything else is 404. The version in the path is not looked at.
//!
//! Every reply closes its connection: Python's clients would otherwise upgrade a pooled REST connection
//! to the gateway's WebSocket, which does not read requests any more.

use crate::ledger::Unanswerable;
use crate::payload;
use crate::snowflake;
use crate::world::World;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpStream;

/// The largest body taken: Discord's own limit for an upload is 10 MiB, and that for text far below.
const MOST_BODY_BYTES: usize = 16 << 20;
/// A day, in milliseconds: session starts are counted per day.
const RESET_AFTER_MS: u64 = 86_400_000;

/// What is replied, and under which name the call is counted.
struct Reply {
    status: StatusCode,
    body: String,
    call: &'static str,
}

impl Reply {
    fn ok(call: &'static str, body: impl Into<String>) -> Self {
        Self::new(call, StatusCode::OK, body)
    }

    fn new(call: &'static str, status: StatusCode, body: impl Into<String>) -> Self {
        let body = body.into();
        Self { status, body, call }
    }

    /// As Discord words an error.
    fn error(call: &'static str, status: StatusCode, code: u32, message: &str) -> Self {
        Self::new(call, status, json!({ "message": message, "code": code }).to_string())
    }
}

/// Serves one request.
pub(crate) async fn serve(world: Arc<World>, stream: TcpStream) {
    let service = service_fn(|request| {
        let world = Arc::clone(&world);
        async move { Ok::<_, Infallible>(respond(&world, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a REST connection broke");
    }
}

async fn respond(world: &World, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let path = parts.uri.path();
    let reply = match Limited::new(body, MOST_BODY_BYTES).collect().await {
        _ if path.starts_with("/ledger") => observe(world, path),
        Ok(body) => {
            let call = Call {
                world,
                method: &parts.method,
                query: parts.uri.query().unwrap_or_default(),
                authorized: header(AUTHORIZATION).is_some_and(|token| world.scenario.knows(token)),
                content_type: header(CONTENT_TYPE).unwrap_or_default(),
                body: body.to_bytes(),
            };
            call.reply(path)
        }
        Err(_) => Reply::error("too large", StatusCode::PAYLOAD_TOO_LARGE, 40_005, "Too large"),
    };
    if !reply.call.is_empty() {
        let status = reply.status.as_u16();
        world.ledger.rest_call(format!("{} {} {status}", parts.method, reply.call));
    }
    Response::builder()
        .status(reply.status)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(reply.body)))
        .expect("a valid header and status")
}

/// The ground truth. Not counted.
fn observe(world: &World, path: &str) -> Reply {
    let json = match path {
        "/ledger" => serde_json::to_string(&world.snapshot()),
        "/ledger/interactions" => serde_json::to_string(&world.ledger.interactions()),
        _ => return Reply::error("", StatusCode::NOT_FOUND, 0, "404: Not Found"),
    };
    Reply::ok("", json.expect("plain data has a JSON form"))
}

/// A call of Discord's API.
struct Call<'a> {
    world: &'a World,
    method: &'a Method,
    query: &'a str,
    authorized: bool,
    content_type: &'a str,
    body: Bytes,
}

impl Call<'_> {
    fn reply(&self, path: &str) -> Reply {
        let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
        // After `api` and the version, which may be left out.
        let segments = match segments.as_slice() {
            [_, version, rest @ ..] if version.starts_with('v') => rest,
            [_, rest @ ..] => rest,
            [] => &[],
        };
        match segments {
            ["gateway"] if self.is(&Method::GET) => {
                Reply::ok("/gateway", json!({ "url": self.world.gateway_url() }).to_string())
            }
            ["interactions", id, token, "callback"] if self.is(&Method::POST) => self.callback(id, token),
            ["webhooks", _, token, rest @ ..] => self.follow_up(token, rest),
            _ if !self.authorized => Reply::error("unauthorized", StatusCode::UNAUTHORIZED, 0, "401: Unauthorized"),
            ["gateway", "bot"] if self.is(&Method::GET) => self.gateway_bot(),
            ["users", "@me"] if self.is(&Method::GET) => Reply::ok("/users/@me", payload::current_user()),
            ["applications", "@me"] | ["oauth2", "applications", "@me"] if self.is(&Method::GET) => {
                let guilds = self.world.scenario.guilds;
                Reply::ok("/applications/@me", payload::application(guilds))
            }
            ["applications", _, "commands"] | ["applications", _, "guilds", _, "commands"] => self.commands(),
            _ => Reply::error("unknown", StatusCode::NOT_FOUND, 0, "404: Not Found"),
        }
    }

    fn is(&self, method: &Method) -> bool {
        self.method == method
    }

    fn gateway_bot(&self) -> Reply {
        let scenario = &self.world.scenario;
        Reply::ok(
            "/gateway/bot",
            json!({
                "url": self.world.gateway_url(),
                "shards": scenario.shards,
                "session_start_limit": {
                    "total": scenario.session_starts,
                    "remaining": self.world.session_starts_left(),
                    "reset_after": RESET_AFTER_MS,
                    "max_concurrency": scenario.max_concurrency,
                },
            })
            .to_string(),
        )
    }

    fn commands(&self) -> Reply {
        const CALL: &str = "/applications/{application}/commands";
        if self.is(&Method::GET) || self.is(&Method::PUT) {
            return Reply::ok(CALL, "[]");
        }
        let Ok(mut command) = serde_json::from_slice::<Map<String, Value>>(&self.body) else {
            return bad_body(CALL);
        };
        let id = snowflake::fresh(snowflake::now_ms()).to_string();
        for (field, value) in [
            ("type", json!(1)),
            ("description", json!("")),
            ("application_id", json!(payload::APPLICATION_ID.to_string())),
            ("version", json!(id)),
            ("id", json!(id)),
        ] {
            command.entry(field).or_insert(value);
        }
        Reply::new(CALL, StatusCode::CREATED, Value::Object(command).to_string())
    }

    /// The first response to an interaction.
    fn callback(&self, id: &str, token: &str) -> Reply {
        const CALL: &str = "/interactions/{id}/{token}/callback";
        let Some(answer_type) = self.answer_type() else {
            return bad_body(CALL);
        };
        let known = self.world.interaction_of(token);
        let known = known.filter(|known| known.to_string() == id);
        let deadline_ms = self.world.scenario.answer_deadline_ms;
        let answered = known.ok_or(Unanswerable::Unknown).and_then(|id| {
            let ledger = &self.world.ledger;
            ledger.answered(id, answer_type, snowflake::now_ms(), deadline_ms)
        });
        match answered {
            Ok(kind) if self.query.contains("with_response=true") => Reply::ok(
                CALL,
                json!({
                    "interaction": { "id": id, "type": kind.discord_type() },
                    "resource": { "type": answer_type },
                })
                .to_string(),
            ),
            Ok(_) => Reply::new(CALL, StatusCode::NO_CONTENT, ""),
            Err(Unanswerable::Unknown) => Reply::error(CALL, StatusCode::NOT_FOUND, 10_062, "Unknown interaction"),
            Err(Unanswerable::Acknowledged) => {
                Reply::error(CALL, StatusCode::BAD_REQUEST, 40_060, "Interaction has already been acknowledged.")
            }
        }
    }

    /// Everything after the first response.
    fn follow_up(&self, token: &str, rest: &[&str]) -> Reply {
        const CALL: &str = "/webhooks/{application}/{token}";
        let id = self.world.interaction_of(token);
        let message = || payload::webhook_message();
        match (self.method.as_str(), rest) {
            ("GET", ["messages", _]) if id.is_some() => Reply::ok(CALL, message()),
            ("POST", []) | ("PATCH" | "DELETE", ["messages", _]) => {
                let followed = id.map_or(Err(Unanswerable::Unknown), |id| self.world.ledger.followed_up(id));
                match followed {
                    Ok(()) if self.is(&Method::DELETE) => Reply::new(CALL, StatusCode::NO_CONTENT, ""),
                    Ok(()) => Reply::ok(CALL, message()),
                    Err(_) => Reply::error(CALL, StatusCode::NOT_FOUND, 10_015, "Unknown Webhook"),
                }
            }
            _ => Reply::error(CALL, StatusCode::NOT_FOUND, 0, "404: Not Found"),
        }
    }

    /// The `type` in the body. With files attached the JSON is one part of a form.
    fn answer_type(&self) -> Option<u8> {
        let json = if self.content_type.starts_with("multipart/form-data") {
            form_json(&self.body)?
        } else {
            self.body.clone()
        };
        let body: Value = serde_json::from_slice(&json).ok()?;
        body.get("type")?.as_u64()?.try_into().ok()
    }
}

/// The part named `payload_json` of a form.
fn form_json(body: &Bytes) -> Option<Bytes> {
    let find = |from: usize, needle: &[u8]| {
        let found = body[from..].windows(needle.len()).position(|w| w == needle);
        found.map(|at| from + at)
    };
    let name = find(0, b"name=\"payload_json\"")?;
    let start = find(name, b"\r\n\r\n")? + 4;
    let end = find(start, b"\r\n--")?;
    Some(body.slice(start..end))
}

fn bad_body(call: &'static str) -> Reply {
    Reply::error(call, StatusCode::BAD_REQUEST, 50_035, "Invalid Form Body")
}

#[cfg(test)]
mod tests {
    use super::form_json;
    use bytes::Bytes;

    #[test]
    fn a_form_s_json_is_found() {
        let form = Bytes::from_static(
            b"--x\r\nContent-Disposition: form-data; name=\"files[0]\"\r\n\r\nbytes\r\n--x\r\n\
              Content-Disposition: form-data; name=\"payload_json\"\r\nContent-Type: application/json\r\n\
              \r\n{\"type\":4}\r\n--x--\r\n",
        );
        assert_eq!(form_json(&form).expect("a part"), r#"{"type":4}"#);
        assert_eq!(form_json(&Bytes::from_static(b"{}")), None);
    }
}
