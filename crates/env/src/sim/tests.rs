use super::*;

const FILE: &str = "/data/file";

fn disk(seed: u64) -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new(seed, 1 << 20);
    let mount = disk.mount();
    mount.create_dir(Path::new("/data")).unwrap();
    mount.sync_dir(Path::new("/")).unwrap();
    (disk, mount)
}

fn content(disk: &SimDisk) -> Option<Vec<u8>> {
    let mount = disk.mount();
    let file = mount.open(Path::new(FILE), Access::Read).ok()?;
    let mut buf = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut buf, 0).unwrap();
    Some(buf)
}

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..200 {
        let (disk, mount) = disk(seed);
        let file = mount.open(Path::new(FILE), Access::CreateNew).unwrap();
        file.write_at(&[1; 2000], 0).unwrap();
        file.sync_data().unwrap();
        mount.sync_dir(Path::new("/data")).unwrap();
        disk.restart();
        assert_eq!(content(&disk), Some(vec![1; 2000]));
    }
}

#[test]
fn what_was_not_synced_is_kept_lost_or_torn() {
    let mut seen = HashSet::new();
    for seed in 0..400 {
        let (disk, mount) = disk(seed);
        let file = mount.open(Path::new(FILE), Access::CreateNew).unwrap();
        file.write_at(&[1; 1024], 0).unwrap();
        file.sync_data().unwrap();
        mount.sync_dir(Path::new("/data")).unwrap();
        file.write_at(&[2; 1024], 0).unwrap();
        disk.restart();
        let found = content(&disk).unwrap();
        seen.insert((found[0], found[1023]));
    }
    assert_eq!(seen.len(), 4, "each sector has a fate of its own");
}

#[test]
fn names_last_once_their_directory_is_synced() {
    let mut kept = 0;
    for seed in 0..100 {
        let (disk, mount) = disk(seed);
        let file = mount.open(Path::new(FILE), Access::CreateNew).unwrap();
        file.sync_data().unwrap();
        disk.restart();
        kept += usize::from(content(&disk).is_some());
    }
    assert!((20..80).contains(&kept), "{kept} of 100");
}

#[test]
fn a_failed_sync_is_not_made_good_by_another() {
    let mut lost = 0;
    for seed in 0..100 {
        let (disk, mount) = disk(seed);
        let file = mount.open(Path::new(FILE), Access::CreateNew).unwrap();
        mount.sync_dir(Path::new("/data")).unwrap();
        file.write_at(&[1; 512], 0).unwrap();
        disk.set_faults(Faults {
            sync_error_one_in: 1,
            ..Faults::default()
        });
        file.sync_data().unwrap_err();
        disk.set_faults(Faults::default());
        file.sync_data().unwrap();
        disk.restart();
        lost += usize::from(content(&disk) != Some(vec![1; 512]));
    }
    assert!((20..80).contains(&lost), "{lost} of 100");
}

#[test]
fn the_power_goes_in_the_middle() {
    let (disk, mount) = disk(7);
    let file = mount.open(Path::new(FILE), Access::CreateNew).unwrap();
    disk.fail_power_after(1);
    file.write_at(&[1; 512], 0).unwrap();
    assert!(!disk.is_off());
    file.write_at(&[2; 5120], 512).unwrap_err();
    assert!(disk.is_off());
    file.read_at(&mut [0], 0).unwrap_err();
    disk.restart();
    file.read_at(&mut [0], 0).unwrap_err();
}

#[test]
fn space_runs_out_and_comes_back() {
    let (disk, mount) = disk(7);
    let file = mount.open(Path::new(FILE), Access::CreateNew).unwrap();
    disk.set_capacity(4096);
    file.allocate(4096).unwrap();
    let full = file.write_at(&[1; 10], 4096).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(mount.space(Path::new("/data")).unwrap().available_bytes, 0);
    file.set_len(512).unwrap();
    file.write_at(&[1; 10], 512).unwrap();
    mount.remove(Path::new(FILE)).unwrap();
    assert_eq!(
        mount.space(Path::new("/data")).unwrap().available_bytes,
        3072
    );
    drop(file);
    assert_eq!(
        mount.space(Path::new("/data")).unwrap().available_bytes,
        4096
    );
}

#[test]
fn one_holder_of_a_lock() {
    let (disk, mount) = disk(7);
    let path = Path::new("/data/LOCK");
    let held = mount.lock(path).unwrap();
    assert!(held.is_some() && mount.lock(path).unwrap().is_none());
    drop(held);
    let held = mount.lock(path).unwrap();
    disk.restart();
    let again = disk.mount();
    let other = again.lock(path).unwrap();
    assert!(other.is_some());
    drop(held);
    assert!(again.lock(path).unwrap().is_none());
}

#[test]
fn lost_sectors_can_be_read_once_they_are_written_anew() {
    let (disk, mount) = disk(7);
    let path = Path::new(FILE);
    let file = mount.open(path, Access::CreateNew).unwrap();
    file.write_at(&[1; 2048], 0).unwrap();
    disk.lose_sectors(path, 600, 700).unwrap();
    let mut buf = [0; 512];
    let error = file.read_at(&mut buf, 1000).unwrap_err();
    assert!(crate::is_unreadable(&error), "{error}");
    assert_eq!(file.read_at(&mut buf, 1024).unwrap(), 512);
    file.write_at(&[2; 512], 512).unwrap();
    assert_eq!(file.read_at(&mut buf, 1000).unwrap(), 512);

    disk.lose_file(path).unwrap();
    let error = mount.open(path, Access::Read).err().unwrap();
    assert!(crate::is_unreadable(&error), "{error}");
    assert!(mount.len(path).is_err() && mount.exists(path).unwrap());
}
