//! Who may do what.

mod server;

use server::{answers, ask, ask_with, start};
use shardlake_embedded::{Clickhouse, Credentials, Options, User};

#[tokio::test]
async fn explore() {
    let dir = tempfile::tempdir().unwrap();
    let t=std::time::Instant::now();
    let s = Clickhouse::start(Options::new(dir.path()).with_tcp_port(0)).await.unwrap();
    eprintln!("started in {:?} {:?}", t.elapsed(), s);
    assert!(answers(s.http_port()).await);
    for q in ["create database shardlake", "create database other", "create table shardlake.t (a Int) engine MergeTree order by a", "create table other.t (a Int) engine MergeTree order by a",
      "select timezone(), getSetting('implicit_select'), currentUser()", "1"
    ] { eprintln!("{q}: {:?}", ask(&s, User::Admin, q).await); }
    for p in ["/?max_execution_time=5", "/?max_execution_time=0", "/?max_execution_time=1000", "/?max_threads=1", "/?additional_table_filters=%7B%27shardlake.t%27%3A%27a%3D2%27%7D", "/?limit=1", "/?log_comment=x", "/?readonly=0", "/?readonly=2","/?default_format=JSON&wait_end_of_query=1", "/?enable_http_compression=1", "/?database=shardlake&query_id=abc", "/?client_protocol_version=54460", "/?session_id=abc","/?http_wait_end_of_query=1","/?http_response_buffer_size=1", "/?output_format_json_quote_64bit_integers=0", "/?http_write_exception_in_output_format=1", "/?send_progress_in_http_headers=1"] {
        let r = ask_with(&s, &s.credentials(User::Reader), p, "select count() from shardlake.t").await;
        let b: String = r.body.chars().take(220).collect();
        eprintln!("{p} {} {b:?}", r.status);
    }
    for c in [("default",""),("","") ,("default","x"),("admin","x"),("admin",""),("nobody","x")] {
        let c = Credentials{user:c.0.into(), password:c.1.into()};
        let r = ask_with(&s, &c, "/", "select count() from shardlake.t").await;
        eprintln!("{c:?} {r:?}");
    }
    let a = s.credentials(User::Admin).password;
    for (u,p) in [("admin",a.as_str()),("default",""),("admin","x")] {
      eprintln!("native {u}: {:?}", ask(&s, User::Admin, &format!("select version() from remote('127.0.0.1:{}', system.one, '{u}', '{p}')", s.tcp_port().unwrap())).await);
    }
    for u in ["/play","/dashboard","/webterminal","/metrics","/a","//","/?a","/ping?x=1","/replicas_status"] {
       let r = ask_with(&s, &s.credentials(User::Reader), u, "select 1").await;
       eprintln!("{u} {} {:.80}", r.status, r.body);
    }
    let t=std::time::Instant::now();
    eprintln!("{}", std::fs::read_to_string(format!("/proc/{}/status", s.pid())).unwrap().lines().filter(|l| l.starts_with("Vm")||l.starts_with("Thr")).collect::<Vec<_>>().join(" "));
    std::process::Command::new("bash").arg("-c").arg(format!("cd {}; cat log/stderr.log; find . -maxdepth 2 | xargs ls -ld; head -c 3000 log/clickhouse.log; ps -o pid,ppid,pgid,sid,tty,args {}", dir.path().display(), s.pid())).status().unwrap();
    let t=std::time::Instant::now();
    s.stop().await.unwrap();
    eprintln!("stopped in {:?}", t.elapsed());
}
