"""Real user agents, driven to call each other through a deployed system: pjsua2, baresip, linphone and sipp."""
