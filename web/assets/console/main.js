// The console: starts all of its parts.
import { startChat } from "./chat.js";
import { startClients } from "./clients.js";
import { startMedia } from "./media.js";
import { startModels } from "./models.js";
import { startChoices } from "./page.js";
import { startPanel } from "./panel.js";
import { startPicker } from "./picker.js";
import { startPictures, useMaker } from "./pictures.js";
import { startSession } from "./session.js";

startChoices();
startPanel();
startSession();
startMedia();
startChat();
startPictures();
startPicker();
startClients();
startModels(useMaker);
