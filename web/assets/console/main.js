// The console: starts all of its parts.
import { startChat } from "./chat.js";
import { startClients } from "./clients.js";
import { startModels } from "./models.js";
import { startChoices } from "./page.js";
import { startPictures, useModel } from "./pictures.js";
import { startSession } from "./session.js";

startChoices();
startSession();
startChat();
startPictures();
startClients();
startModels(useModel);
