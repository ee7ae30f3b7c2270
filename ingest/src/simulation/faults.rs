//! What a seed does to a world, and when. Each fault is mended after some time; of each kind there is one at a time.

use std::time::Duration;

use rand::RngExt as _;

use super::{
    clickhouse::Mood,
    disk::Trouble,
    network::CLICKHOUSE,
    outside::{count, inside, is_dead},
    world::{PROCESS, World},
};

/// Longest pause between two faults, in milliseconds.
const PAUSE_MS: u64 = 12_000;
/// Longest time until a fault is mended, in milliseconds. Longer than the writer's longest time limit.
const MENDED_MS: u64 = 80_000;
/// Most operations of the disk until a kill comes.
const OPERATIONS: u32 = 40;

/// What can be broken, each independently of the others.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Process,
    Clickhouse,
    Network,
    Disk,
    Mood,
}

#[derive(Default)]
pub(super) struct Faults {
    next_at: Duration,
    /// What is broken, and until when.
    broken: Vec<(Part, Duration)>,
}

impl Faults {
    /// Breaks and mends what is due.
    pub(super) fn inject(&mut self, world: &mut World) {
        if is_dead() {
            world.kill_process(false);
            self.breaks(world, Part::Process);
        }
        if world.kills_next_insert && !world.clickhouse.is_idle() {
            world.kill_clickhouse();
            self.breaks(world, Part::Clickhouse);
        }
        let now = world.sim.elapsed();
        let due: Vec<Part> = self.broken.extract_if(.., |(_, until)| *until <= now).map(|(part, _)| part).collect();
        for part in due {
            mend(world, part);
        }
        if !self.is_broken(Part::Process) && !world.sim.is_host_running(PROCESS) {
            self.breaks(world, Part::Process); // it has ended as it was asked to
        }
        if now < self.next_at {
            return;
        }
        self.next_at = now + Duration::from_millis(world.chance.random_range(0..=PAUSE_MS));
        let parts = [Part::Process, Part::Process, Part::Clickhouse, Part::Network, Part::Disk, Part::Mood];
        let part = parts[world.chance.random_range(0..parts.len())];
        if !self.is_broken(part) && break_it(world, part) {
            self.breaks(world, part);
        }
    }

    fn is_broken(&self, part: Part) -> bool {
        self.broken.iter().any(|(broken, _)| *broken == part)
    }

    /// Most faults are short, some are long.
    fn breaks(&mut self, world: &mut World, part: Part) {
        let longest_ms = if world.chance.random_bool(0.7) { 5_000 } else { MENDED_MS };
        let until = world.sim.elapsed() + Duration::from_millis(world.chance.random_range(0..=longest_ms));
        self.broken.push((part, until));
    }

    /// From now on all is well.
    pub(super) fn mend_all(self, world: &mut World) {
        inside(|inside| inside.disk.killed_in = None);
        world.kills_next_insert = false;
        if is_dead() {
            world.kill_process(false);
        }
        for (part, _) in self.broken {
            mend(world, part);
        }
        mend(world, Part::Process);
    }
}

/// Whether there is something to mend afterwards.
fn break_it(world: &mut World, part: Part) -> bool {
    match part {
        Part::Process => break_process(world),
        Part::Clickhouse => {
            let at_once = world.chance.random_bool(0.5);
            if at_once {
                world.kill_clickhouse();
            }
            world.kills_next_insert = !at_once;
            at_once
        }
        Part::Network => {
            break_network(world);
            true
        }
        Part::Disk => {
            if world.chance.random_bool(0.5) {
                set_disk(Trouble::Full, "full disks");
            } else {
                let probability = world.chance.random_range(0.05..=1.0);
                set_disk(Trouble::Failing(probability), "failing disks");
            }
            true
        }
        Part::Mood => {
            world.draw_mood();
            true
        }
    }
}

fn break_process(world: &mut World) -> bool {
    match world.chance.random_range(0..5) {
        0 => {
            count("kills of the process");
            world.kill_process(false);
            true
        }
        1 | 2 => {
            count("kills of the process in an operation of the disk");
            let operations = world.chance.random_range(0..=OPERATIONS);
            inside(|inside| inside.disk.killed_in = Some(operations));
            false // it is not dead yet
        }
        3 => {
            count("power losses");
            world.kill_process(true);
            true
        }
        _ => {
            count("ends that were asked for");
            let deadline = Duration::from_millis(world.chance.random_range(0..=20_000));
            world.cluster.end_within.set(Some(deadline));
            false // it has not ended yet
        }
    }
}

fn break_network(world: &mut World) {
    match world.chance.random_range(0..4) {
        0 => {
            count("networks that held everything back");
            world.sim.hold(PROCESS, CLICKHOUSE);
        }
        1 => {
            count("networks that lost everything");
            world.sim.partition(PROCESS, CLICKHOUSE);
        }
        2 => {
            count("networks that lost requests");
            world.sim.partition_oneway(PROCESS, CLICKHOUSE);
        }
        _ => {
            count("networks that lost answers");
            world.sim.partition_oneway(CLICKHOUSE, PROCESS);
        }
    }
}

fn mend(world: &mut World, part: Part) {
    match part {
        Part::Process => world.start_process(),
        Part::Clickhouse => world.start_clickhouse(),
        Part::Network => world.sim.release(PROCESS, CLICKHOUSE),
        Part::Disk => {
            inside(|inside| inside.disk.trouble = Trouble::None);
        }
        Part::Mood => world.clickhouse.mood.set(Mood::default()),
    }
}

fn set_disk(trouble: Trouble, kind: &'static str) {
    inside(|inside| inside.disk.trouble = trouble);
    count(kind);
}
