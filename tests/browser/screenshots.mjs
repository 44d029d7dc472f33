// Takes the pictures of the console that the documents show, and the same states at other widths to be looked at.
//
//   BASE_URL=… API_KEY=… ADMIN_KEY=… [LANGUAGES=en,zh] [WIDTHS=1440,1024,390] [CHROMIUM=path] SCREENSHOTS=folder node tests/browser/screenshots.mjs
//
// The server has a fake site and a second account (scripts/screenshots starts all of it).

import { API_KEY, BASE_URL, fake, open, run, screenshot, setValue, waitForText } from "./page.mjs";

const { ADMIN_KEY, LANGUAGES = "en", WIDTHS = "1440,1024,390" } = process.env;
const HEIGHTS = { 1440: 1080, 1024: 768, 390: 844, 320: 640 };

const TEXTS = {
  en: {
    ask: "How warm is it in Oslo, and how do I convert that to Fahrenheit?",
    think: "The user wants the weather of a city. There is a tool for it.\nThen the conversion: multiply by 9/5 and add 32.",
    look: "I look it up.",
    result: "18 °C, light wind",
    say: "It is **18 °C** in Oslo, with a light wind. In Fahrenheit that is 18 × 9/5 + 32 = **64.4 °F**.\n\n```python\ndef fahrenheit(celsius: float) -> float:\n    return celsius * 9 / 5 + 32\n```\n\n| | Celsius | Fahrenheit |\n|---|---|---|\n| Water freezes | 0 | 32 |\n| Oslo now | 18 | 64.4 |\n| Water boils | 100 | 212 |\n",
    draw: "A red kite above a grey sea",
    film: "The kite rises and turns in the wind",
  },
  zh: {
    ask: "奥斯陆现在多少度？怎么换算成华氏度？",
    think: "用户想知道某个城市的天气，可以调用工具。\n然后换算：乘以 9/5，再加 32。",
    look: "我查一下。",
    result: "18 °C，微风",
    say: "奥斯陆现在 **18 °C**，微风。换算成华氏度：18 × 9/5 + 32 = **64.4 °F**。\n\n```python\ndef fahrenheit(celsius: float) -> float:\n    return celsius * 9 / 5 + 32\n```\n\n| | 摄氏度 | 华氏度 |\n|---|---|---|\n| 水结冰 | 0 | 32 |\n| 奥斯陆现在 | 18 | 64.4 |\n| 水沸腾 | 100 | 212 |\n",
    draw: "灰色大海上空的一只红色风筝",
    film: "风筝在风中上升、旋转",
  },
};

/** A scene instead of what the fake site draws. */
const SCENE = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1328 747" width="1328" height="747">
<defs><linearGradient id="s" x2="0" y2="1"><stop stop-color="#dfe3e6"/><stop offset="1" stop-color="#b9c3ca"/></linearGradient></defs>
<rect width="1328" height="747" fill="url(#s)"/><circle cx="1060" cy="170" r="62" fill="#f2efe6"/>
<path d="M0 470q166-46 332 0t332 0 332 0 332 0v277H0z" fill="#8b9aa5"/><path d="M0 545q166-46 332 0t332 0 332 0 332 0v202H0z" fill="#6d7e8b"/>
<path d="M0 625q166-46 332 0t332 0 332 0 332 0v122H0z" fill="#516270"/>
<path d="M520 120l120 110-60 170-150-120z" fill="#c8352c"/><path d="M520 120l-90 160 210-50zM640 230l-60 170" fill="none" stroke="#8f1f1a" stroke-width="5"/>
<path d="M580 400q30 70-10 120t30 120" fill="none" stroke="#3a2a28" stroke-width="4"/></svg>`;

/** Answers with the scene and a video, and gives the fake site its directives, which nobody types. */
async function direct(page) {
  const scene = await page.evaluate(async (svg) => {
    const image = new Image();
    image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: 1328, height: 747 });
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/png").split(",")[1];
  }, SCENE);
  const film = await page.evaluate(async (picture) => {
    const image = new Image();
    image.src = `data:image/png;base64,${picture}`;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: 1280, height: 720 });
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, 1280, 720);
    const parts = [];
    const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: "video/webm" });
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const ended = new Promise((done) => (recorder.onstop = done));
    recorder.start(100);
    // The first picture may take a while.
    for (let at = 0; at < 15 || parts.length < 3 || !parts.some(({ size }) => size > 1000); at++) {
      context.drawImage(image, -at, -at, 1280 + 2 * at, 720 + 2 * at);
      await new Promise((done) => setTimeout(done, 40));
    }
    recorder.stop();
    await ended;
    return btoa(String.fromCharCode(...new Uint8Array(await new Blob(parts).arrayBuffer())));
  }, scene);
  /** @type {{ next: string, health?: unknown }} */
  const directives = { next: "" };
  await page.setRequestInterception(true);
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (pathname.startsWith("/v1/media/")) return request.respond({ status: 200, contentType: "image/png", body: Buffer.from(scene, "base64") });
    if (pathname.endsWith("/content")) return request.respond({ status: 200, contentType: "video/webm", body: Buffer.from(film, "base64") });
    if (pathname === "/health" && directives.health) return request.respond({ status: 200, contentType: "application/json", body: JSON.stringify(directives.health) });
    if (request.method() !== "POST" || !directives.next) return request.continue();
    const body = JSON.parse(request.postData());
    if (body.messages) body.messages.at(-1).content += ` ${directives.next}`;
    else body.prompt += ` ${directives.next}`;
    request.continue({ postData: JSON.stringify(body) });
  });
  return directives;
}

async function send(page, text) {
  await setValue(page, "#question", text);
  await page.focus("#question");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#send").getAttribute("data-doing") === "send" && document.querySelector(".thread").children.length > 1);
}

/** Moves the pointer and the focus away, and waits until nothing loads. */
async function settle(page) {
  await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement)?.blur());
  await page.mouse.move(0, 0);
  await page.waitForNetworkIdle({ idleTime: 200 });
}

async function states(language, width) {
  const texts = TEXTS[language];
  const page = await open("/", { width, height: HEIGHTS[width] ?? 900 });
  const take = async (name) => {
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    await screenshot(page, `${name}-${language}-${width}`, false);
  };
  const directives = await direct(page);
  await page.select("#language", language);
  await setValue(page, "#key", API_KEY);
  await setValue(page, "#admin-key", ADMIN_KEY);
  await page.$eval("#admin-key", (input) => input.dispatchEvent(new Event("change")));
  await page.waitForSelector("#account-list li");
  await settle(page);
  await take("empty");

  await page.$eval("#tools-example", (/** @type {HTMLButtonElement} */ button) => button.click());
  directives.next = fake({ think: texts.think, say: `${texts.look}\n[TOOL CALL]\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n[END TOOL CALL]` }, "");
  await send(page, texts.ask);
  await page.$eval(".call", (/** @type {HTMLDetailsElement} */ call) => (call.open = true));
  await setValue(page, "form.results textarea", texts.result);
  directives.next = fake({ thinking: 0, say: texts.say }, "");
  await page.click("form.results button");
  await page.waitForSelector("article.assistant:last-of-type:not([aria-busy]) table");
  await page.$eval("#talk", (talk) => (talk.scrollTop = talk.scrollHeight));
  await settle(page);
  await take("answer");

  await page.click("#new");
  await page.select("#kind", "picture");
  await page.select("#shape", "16:9");
  directives.next = fake({ px: "1328x747" }, "");
  await send(page, texts.draw);
  await page.waitForFunction(() => [...document.querySelectorAll(".made img")].every((/** @type {HTMLImageElement} */ { naturalWidth }) => naturalWidth > 0));
  await page.select("#kind", "video");
  directives.next = fake({ polls: 0 }, "");
  await send(page, texts.film);
  await waitForText(page, ".thread article:last-of-type .facts", "MP4");
  await page.waitForFunction(() => document.querySelector("video").readyState === 4);
  await page.$eval("video", (/** @type {HTMLVideoElement} */ video) => video.play().then(() => video.pause()));
  await page.select("#kind", "picture");
  await page.$eval("#talk", (talk) => (talk.scrollTop = talk.scrollHeight));
  await settle(page);
  await take("pictures");

  await page.select("#theme", "dark");
  await page.select("#kind", "chat");
  await page.click("#new");
  await page.click("#model");
  await page.keyboard.press("ArrowDown");
  await take("models");
  await page.keyboard.press("Escape");

  if (width < 1024) await page.click("#toggle-panel");
  await page.$$eval("#chats, #session", (all) => all.forEach((/** @type {HTMLDetailsElement} */ section) => (section.open = false)));
  await page.$$eval("#accounts, #clients, #client-claude-code", (all) => all.forEach((/** @type {HTMLDetailsElement} */ section) => (section.open = true)));
  await settle(page);
  await take("menu");
  if (width < 1024) await page.keyboard.press("Escape");

  await page.select("#theme", "light");
  await page.select("#kind", "chat");
  directives.health = { ...(await (await fetch(`${BASE_URL}/health`)).json()), status: "unhealthy", session: { state: "expired", expires_at: null, checked_at: 1_750_000_000 } };
  await page.reload({ waitUntil: "networkidle0" });
  await page.click("#new");
  await page.waitForSelector('#strip[data-state="expired"]');
  await settle(page);
  await take("ended");
  await page.close();
}

await run(async () => {
  for (const language of LANGUAGES.split(",")) for (const width of WIDTHS.split(",")) await states(language, Number(width));
  console.log(`ok ${BASE_URL}`);
});
