//! What the system says of a process.

use anyhow::Context;

/// Seconds of CPU that a process has used.
pub(crate) fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("no process name")?.1.split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok()).context("no such field");
    // Linux counts in hundredths of a second (USER_HZ) on every architecture that we run on.
    Ok(f64::from(ticks(11)? + ticks(12)?) / 100.0)
}

/// Resident memory in MiB: now, and the most it ever was.
pub(crate) fn memory_mib(pid: u32) -> anyhow::Result<(f64, f64)> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).context("no such field")?;
        let kib: u32 = line.split_whitespace().nth(1).context("no value")?.parse()?;
        anyhow::Ok(f64::from(kib) / 1024.0)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// The process of this machine that listens on a TCP port, if this user may see it.
#[cfg(feature = "cluster")]
pub(crate) fn listening_on(port: u16) -> Option<u32> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| listening_inode(line, port)).collect::<Vec<_>>())
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let holds = |pid: &u32| {
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
    };
    std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(holds)
}

/// Of a line of the kernel's table of sockets: number, local, remote, state, …, inode.
#[cfg(feature = "cluster")]
fn listening_inode(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let local = fields.get(1)?.rsplit_once(':')?.1;
    let here = u16::from_str_radix(local, 16) == Ok(port) && *fields.get(3)? == LISTEN;
    here.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{path} cannot be read; has the process ended?"))
}

#[cfg(all(test, feature = "cluster"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listening_on(port), Some(std::process::id()));
        drop(listener);
        assert_eq!(listening_on(port), None);
        assert!(memory_mib(std::process::id()).unwrap().0 > 0.0 && cpu_s(std::process::id()).is_ok());
    }
}
