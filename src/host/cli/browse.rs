//! Showing a page: the world a browser is looked for in, and what to say of it.

use std::net::{Ipv4Addr, SocketAddr};

use cadet_browser::find::System;
use cadet_browser::{BrowserError, Page, World, launch};

use crate::Context;
use crate::error::{CliError, Result};
use crate::machine;

/// `url` through the SOCKS server on `proxy`; also gives the curl line for it.
///
/// # Errors
/// PROGRAM_USAGE for an address that is none.
pub fn page(url: &str, proxy: u16) -> Result<Page> {
    Ok(Page::new(
        url,
        SocketAddr::from((Ipv4Addr::LOCALHOST, proxy)),
    )?)
}

/// `url` of this computer; also gives the curl line for it.
///
/// # Errors
/// PROGRAM_USAGE for an address that is none.
pub fn local(url: &str) -> Result<Page> {
    Ok(Page::direct(url)?)
}

/// Opens `page` in a browser with a throw-away profile; says so if there is no display.
///
/// # Errors
/// HOST_BROWSER_MISSING.
pub fn show(cx: &Context, which: Option<&str>, page: &Page) -> Result<()> {
    let world = world();
    let profiles = cx.world.home.browsers();
    if profiles.is_dir() {
        launch::sweep(&profiles);
    }
    if !world.has_display {
        cx.ui
            .line("  note  there is no display here, so no browser was started");
        return Ok(());
    }
    let browser = world.choose(which, |path| path.exists())?;
    let running = launch(&browser, page, &profiles, &world)?;
    for warning in &running.warnings {
        cx.ui.warn("browser", warning);
    }
    cx.ui.line(format!(
        "{} shows it, with a profile of its own (process {}).",
        browser.name,
        running.id()
    ));
    Ok(())
}

fn world() -> World {
    let folders = |name: &str| {
        std::env::var_os(name)
            .into_iter()
            .flat_map(|v| std::env::split_paths(&v).collect::<Vec<_>>())
    };
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let system = System::here();
    World {
        system,
        path: folders("PATH").collect(),
        home: std::env::home_dir(),
        program_folders: ["ProgramFiles", "ProgramFiles(x86)", "LocalAppData"]
            .into_iter()
            .flat_map(folders)
            .collect(),
        is_root: machine::is_root(),
        has_display: system != System::Linux || set("DISPLAY") || set("WAYLAND_DISPLAY"),
    }
}

impl From<BrowserError> for CliError {
    fn from(e: BrowserError) -> Self {
        let text = crate::from_rooms::chain(&e);
        match &e {
            BrowserError::NotFound { looked } => {
                let looked: Vec<_> = looked
                    .iter()
                    .take(6)
                    .map(|p| p.display().to_string())
                    .collect();
                CliError::new("HOST_BROWSER_MISSING", "no Chrome, Chromium, Edge or Firefox was found")
                    .why(format!("looked for {} …", looked.join(", ")))
                    .fix("cadet open TARGET --print      and any program that speaks SOCKS5\nsudo apt-get install chromium")
            }
            BrowserError::BadUrl { .. } => {
                CliError::new("PROGRAM_USAGE", text).fix("cadet open pod/NAME")
            }
            _ => CliError::new("HOST_BROWSER_MISSING", "the browser did not start")
                .why(text)
                .fix("cadet open TARGET --print\ncadet open TARGET --browser firefox"),
        }
    }
}
